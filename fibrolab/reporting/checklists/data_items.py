"""What a run's audit, split and predictions answer of a checklist about its data; empty where not known."""

from fibrolab import keys
from fibrolab.reporting import findings, numbers, vocabulary
from fibrolab.runs.trained_run import Run

PHANTOM = "sources.phantom"
SIMULATED = "All of it is simulated: no patient was examined."
EXTERNAL, BY_SITE = "external", "by_site"  # names of splits whose test part is of other origin


def data(run: Run) -> str:
    """Name and size of the data set, whether it is simulated and whether the network learnt from it."""
    name = run.setting("data.name")
    if not name:
        return ""
    drawn = SIMULATED if PHANTOM in str(run.setting("data._target_")) else ""
    return " ".join(filter(None, (f"Data set {name}.", drawn, counts(run), _learnt_elsewhere(run))))


def learnt_from(run: Run) -> str:
    """The data set that the network learnt from; of an external evaluation only its size is on record."""
    return _learnt_elsewhere(run) if _is_external(run) else data(run)


def _learnt_elsewhere(run: Run) -> str:
    """How many samples of other data the evaluated network had learnt from; empty of any other run."""
    if not _is_external(run) or run.split is None:
        return ""
    known = run.split[keys.PARTITION].value_counts()
    train, validation = (int(known.get(part, 0)) for part in (keys.TRAIN, keys.VALIDATION))
    return f"The network learnt from {train:,} and was validated on {validation:,} samples of an earlier run."


def _is_external(run: Run) -> bool:
    """Whether a finished run's network answered another data set here."""
    return bool(run.setting("split.name") == EXTERNAL)


def counts(run: Run) -> str:
    """Samples, groups and patients, and what was left out."""
    found = run.audit
    if not isinstance(found.get("samples"), int):
        return ""
    names = [name for name in ("samples", "groups") if isinstance(found.get(name), int)]
    if found.get("patients") == found.get("groups"):
        names = ["samples"]  # every group is a patient
    sizes = [f"{found[name]:,} {name}" for name in names]
    sizes.append(f"{found['patients']:,} patients" if found.get("patients") else "patients not known")
    return f"{', '.join(sizes)}. {left_out(run)}".strip()


def left_out(run: Run) -> str:
    """How many files could not be taken in; the report lists them."""
    files = run.audit.get("left_out")
    if files is None:
        return ""
    return f"Files left out: {len(files):,}, named in the report." if files else "No file was left out."


def missing(run: Run) -> str:
    """Files that were left out, and what a network of several inputs does without one of them."""
    told = [left_out(run)]
    if len(run.setting("model.branches", {})) > 1:
        dropped = run.setting("model.fusion.modality_dropout", 0)
        how = f", trained for by dropping {dropped:g} of the inputs" if dropped else ""
        told.append(f"A sample that lacks an input is answered from the others{how}.")
    return " ".join(filter(None, told))


def checks(run: Run) -> str:
    """That the data was audited, and with which verdict."""
    found = findings.verdict(run)
    return f"The data was audited for copies, leaks, short cuts and disorder: {found.word}." if found else ""


def identity(run: Run) -> str:
    """What the audit found of names in files and tables."""
    if "identity" not in run.audit:
        return ""
    fields = [*run.audit["identity"], *(run.audit.get("personal_columns") or [])]
    found = f"personal fields: {', '.join(map(str, fields))}" if fields else "no personal field"
    return f"The audit found {found} in the headers and tables that were read."


def inputs(run: Run) -> str:
    """The modalities that the network eats."""
    eaten = _eaten(run)
    return f"Input: {vocabulary.listed(eaten)}." if eaten else ""


def selected(run: Run) -> str:
    """Which part of a picture, and which frames of a film, are taken."""
    told, eaten = [inputs(run)], _eaten(run)
    if keys.IMAGE in eaten or keys.CLIP in eaten:
        whole = run.setting("preprocess.crop", "none") == "none"
        told.append("Pictures are taken whole." if whole else "Burned-in borders and text are cut away.")
    if keys.CLIP in eaten and (length := run.setting("segment.length")):
        told.append(f"Of a film {length} frames, {run.setting('segment.name')}.")
    return " ".join(filter(None, told))


def scanners(run: Run) -> str:
    """Scanners, as the cohort counts them."""
    return _values(run, "scanner", "Scanners")


def sites(run: Run) -> str:
    """Sites, as the cohort counts them."""
    return _values(run, "site", "Sites")


def sizes(run: Run) -> str:
    """Samples and groups of every part."""
    parts = [f"{name} {_size(run, name)}" for name, part in run.partitions.items() if any(part.values())]
    return " ".join(filter(None, (f"Samples: {'; '.join(parts)}." if parts else "", _learnt_elsewhere(run))))


def partitions(run: Run) -> str:
    """The same, by class."""
    parts = [
        f"{name} {_size(run, name)} ({', '.join(f'{label} {count:,}' for label, count in part.items())})"
        for name, part in run.partitions.items()
        if any(part.values())
    ]
    return f"Samples: {'; '.join(parts)}." if parts else ""


def disjoint(run: Run) -> str:
    """Whether groups stay in one part, counted in the split itself."""
    if _is_external(run):
        # The parts' names were made different, so that counting them would prove nothing.
        found = [
            each["sentence"] for each in run.audit.get("findings", []) if each["key"].startswith(EXTERNAL)
        ]
        return " ".join(["The test is another data set than the network learnt from.", *found])
    if run.split is None or keys.GROUP_ID not in run.split:
        return ""
    parts = run.split.groupby([keys.GROUP_ID, keys.FOLD] if keys.FOLD in run.split else keys.GROUP_ID)
    crossing = int((parts[keys.PARTITION].nunique() > 1).sum())
    unit = "Patients" if run.audit.get("patients") else "Clusters of copies (patients are not known)"
    if run.setting("split.val_is_test"):
        return f"None: validation and test are the same samples. {unit} in several parts: {crossing:,}."
    return f"{unit} in several parts: {crossing:,}."


def test_size(run: Run) -> str:
    """How many samples and groups were tested on."""
    test = run.scored()
    if test is None:
        return ""
    return f"{len(test):,} samples of {test[keys.GROUP_ID].nunique():,} {_unit(run)} tested."


def internal(run: Run) -> str:
    """A test on data of the origin that the network learnt from; empty where the test is of another."""
    size, name = test_size(run), run.setting("data.name")
    elsewhere = run.setting("split.name") in (EXTERNAL, BY_SITE)
    return "" if elsewhere or not (size and name) else f"Test part of {name}: {size}"


def external(run: Run) -> str:
    """A test on another data set, or at a site that was held out."""
    size, name = test_size(run), run.setting("data.name")
    if not (size and name):
        return ""
    if _is_external(run):
        return f"Data set {name}, which the network did not learn from: {size}"
    held_out = run.setting("split.site") if run.setting("split.name") == BY_SITE else None
    return f"Site {held_out} of {name}, held out from training: {size}" if held_out else ""


def _size(run: Run, partition: str) -> str:
    samples = sum(run.partitions[partition].values())
    groups = (run.audit.get("partition_groups") or {}).get(partition)
    return f"{samples:,} of {groups:,} {_unit(run)}" if groups else f"{samples:,}"


def _unit(run: Run) -> str:
    """What a group is, where the audit knows it."""
    return "patients" if run.audit.get("patients") else "groups"


def _eaten(run: Run) -> list[str]:
    branches = run.setting("model.branches", {})
    return list(dict.fromkeys(str(branch["input"]) for branch in branches.values() if branch.get("input")))


def _values(run: Run, column: str, title: str) -> str:
    """The values of a column with their counts in every part that has them."""
    table = run.tables.get("cohort")
    if table is None:
        return ""
    told = []
    for row in vocabulary.records(table[table["variable"] == column]):
        parts = [f"{part} {row[part]}" for part in keys.PARTITIONS if row[part]]
        told.append(f"{str(row['statistic']).removesuffix(', n (%)')}: {', '.join(parts)}")
    return f"{title}. {'; '.join(told)}.".replace(numbers.SPACE, " ") if told else ""
