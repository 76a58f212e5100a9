"""The verdict of a study in sentences, each of which follows from its results."""

from collections.abc import Iterator

from fibrolab.reporting import numbers
from fibrolab.reporting.vocabulary import lowered
from fibrolab.studies.definition import Study
from fibrolab.studies.parts import Part, parts
from fibrolab.studies.result_sheets import at_end_point
from fibrolab.studies.results import SIGNIFICANT, Tables


def sentences(study: Study, size: str, tables: Tables) -> Iterator[str]:
    """Yield the sentences: the best arm and the best baseline, which arms differ, and from which markers."""
    found = parts(study, size, tables)
    for part in found:
        yield from against_baselines(part)
        yield from between_arms(part)
        yield from beside_markers(part)
    yield from between_protocols(found)


def trained(tables: Tables) -> str:
    """Return a sentence on the number of trainings and their time."""
    table = tables["trainings"]
    done = table[table["state"] == "finished"]
    minutes = done["seconds"].sum() / 60 if "seconds" in done else 0
    time = f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
    text = f"{len(done)} trainings, {time} in all."
    holes = len(table) - len(done)
    return text if not holes else f"{text} {holes} did not finish; their rows say why."


def against_baselines(part: Part) -> Iterator[str]:
    """Yield a sentence on the best arm against the best baseline without a model."""
    arms = {arm: one for arm in part.study.arms if (one := part.estimate(arm, "accuracy")) is not None}
    if part.baselines.empty or not arms:
        return
    top = part.baselines.sort_values("value").iloc[-1]
    best = max(arms, key=lambda arm: arms[arm]["value"])
    label, value = part.label(best), numbers.quantity(arms[best]["value"], "accuracy")
    baseline = (
        f"{numbers.baseline_name(str(top['baseline']))}, {numbers.quantity(float(top['value']), 'accuracy')}"
    )
    if arms[best]["low"] > top["value"]:
        yield (
            f"{part.title}: {label}, the best arm, has an accuracy of {value}, above the best baseline "
            f"({baseline})."
        )
    elif arms[best]["value"] > top["value"]:
        yield (
            f"{part.title}: the accuracy of the best arm ({label}, {value}) is above that of the best "
            f"baseline ({baseline}), but its interval includes it."
        )
    else:
        yield (
            f"{part.title}: no arm exceeds the best baseline, which needs no network ({baseline}); the best "
            f"arm, {label}, has {value}."
        )


def between_arms(part: Part) -> Iterator[str]:
    """Yield a sentence on the pairs of arms that can be distinguished."""
    rows = part.differences
    if rows.empty:
        return
    known = rows[rows["p_holm"].notna()]
    found = known.loc[known["p_holm"].astype(float) < SIGNIFICANT, ["arm", "against"]].drop_duplicates()
    total = len(rows[["arm", "against"]].drop_duplicates())
    if known.empty:
        yield f"{part.title}: the differences between the arms could not be tested."
    elif found.empty:
        yield (
            f"{part.title}: no two arms can be distinguished (corrected p at least {SIGNIFICANT} in every "
            "measure)."
        )
    else:
        listed = ", ".join(
            f"{part.label(arm)} and {part.label(other)}" for arm, other in found.to_numpy().tolist()
        )
        yield f"{part.title}: {len(found)} of {total} pairs of arms differ in some measure ({listed})."


def beside_markers(part: Part) -> Iterator[str]:
    """Yield a sentence on the arms whose AUC differs from that of a clinical marker."""
    rows = part.beside_markers
    if rows.empty:
        return
    known = rows[rows["p_holm"].notna()]
    found = known[known["p_holm"].astype(float) < SIGNIFICANT]
    if found.empty:
        listed = ", ".join(dict.fromkeys(map(str, rows["against"])))
        yield f"{part.title}: no arm's AUC can be distinguished from that of a clinical marker ({listed})."
        return
    pairs = [
        f"{part.label(row['arm'])} {'above' if row['value'] > 0 else 'below'} {row['against']}"
        f"{at_end_point(row, rows)}"
        for row in found.to_dict("records")
    ]
    yield (
        f"{part.title}: {len(found)} of {len(rows)} pairs of an arm and a clinical marker differ in AUC "
        f"({'; '.join(pairs)})."
    )


def between_protocols(found: list[Part]) -> Iterator[str]:
    """Yield a sentence on the accuracy that a leaking protocol adds to each arm."""
    for part in found:
        for other in found:
            if not part.study.protocols[part.protocol].leaks or other.study.protocols[other.protocol].leaks:
                continue
            if part.task != other.task:
                continue
            pairs = {
                part.label(arm): (one["value"], two["value"])
                for arm in part.study.arms
                if (one := part.estimate(arm, "accuracy")) and (two := other.estimate(arm, "accuracy"))
            }
            if pairs:
                listed = "; ".join(
                    " and ".join([f"{label} {_accuracy(leaking)}", _accuracy(honest)])
                    for label, (leaking, honest) in pairs.items()
                )
                yield f"{part.title} and {lowered(other.title)}, accuracy of the same arms: {listed}."


def _accuracy(value: float) -> str:
    return numbers.quantity(value, "accuracy")
