"""Leakage: proportion of the test set that is in the training set, under this split and random ones."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fibrolab import keys
from fibrolab.data.audit.evidence import Evidence
from fibrolab.data.audit.finding import Finding, percent
from fibrolab.data.audit.model_free import lookup
from fibrolab.data.audit.protocols import stratified
from fibrolab.data.near_hashes import near_any

DRAWS = 20  # number of random splits for mean and SD
LITERATURE = (0.8, 0.0, 0.2)  # train, validation and test in most papers on public data sets of this field
TRAIN, VALIDATION, TEST = range(3)


def leakage(evidence: Evidence) -> tuple[dict[str, Any], list[Finding]]:
    """Measure how much of the test set is also in the training set.

    The run's own split is compared with random splits, of the same proportions and of the literature's
    80:20, which show how much the same images would leak without groups.
    """
    own = _parts(evidence)
    rng = np.random.default_rng(evidence.seed)
    proportions = tuple(np.bincount(own, minlength=3) / len(own))
    random = [stratified(evidence.labels, proportions, rng) for _ in range(DRAWS)]
    literature = [stratified(evidence.labels, LITERATURE, rng) for _ in range(DRAWS)]
    measured = _measured([own, *random, *literature], evidence)
    run = {name: values[0] for name, values in measured.items()}
    found = {
        "leak": {name: run[name] for name in ("exact", "near")} | {"groups": _crossing(evidence.group, own)},
        "leakage": {
            "run": run
            | {
                "groups_crossing": _crossing(evidence.group, own),
                "patients_crossing": _crossing(evidence.patient, own),
            },
            "random": _spread(measured, slice(1, 1 + DRAWS)),
            "literature": _spread(measured, slice(1 + DRAWS, None)),
            "draws": DRAWS,
        },
    }
    return found, list(_findings(found, evidence))


def _parts(evidence: Evidence) -> np.ndarray:
    """Return every sample's part under the run's split as a number, int64 (N,)."""
    return np.array([keys.PARTITIONS.index(name) for name in evidence.split.partitions])


def _measured(splits: list[np.ndarray], evidence: Evidence) -> dict[str, list[float | None]]:
    """Measure the leakage of each split; a value is None if the split has nothing to measure it on.

    The values are the proportions of test images with an identical (`exact`) or near copy in training, the
    proportions of groups and of patients in several partitions, and the accuracy of a lookup.
    """
    seen = np.zeros((len(evidence.first), len(splits)), bool)
    for column, parts in enumerate(splits):
        seen[evidence.image[parts == TRAIN], column] = True
    near = seen | near_any(evidence.hashes, seen, clusters=evidence.near_cluster[evidence.first])
    names = ("exact", "near", "groups", "patients", "lookup")
    measured: dict[str, list[float | None]] = {name: [] for name in names}
    for column, parts in enumerate(splits):
        test = evidence.image[parts == TEST]
        measured["exact"].append(_mean(seen[test, column]))
        measured["near"].append(_mean(near[test, column]))
        measured["groups"].append(_mean(_in_several_parts(evidence.group, parts)))
        measured["patients"].append(_mean(_in_several_parts(evidence.patient, parts)))
        measured["lookup"].append(_lookup_accuracy(evidence, parts))
    return measured


def _lookup_accuracy(evidence: Evidence, parts: np.ndarray) -> float | None:
    """Compute the accuracy of looking up an image in the training set; a new one gets the commonest class.

    None without a training set or with one class.
    """
    if not (parts == TRAIN).any() or len(evidence.classes) < 2:
        return None
    fold = np.where(parts == VALIDATION, -1, parts)
    probabilities = lookup(evidence.image, evidence.labels, fold, len(evidence.classes))
    test = parts == TEST
    return _mean(probabilities[test].argmax(axis=1) == evidence.labels[test])


def _in_several_parts(codes: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Return for each known group whether it has samples in several parts, bool (G,)."""
    known = codes >= 0
    numbers = np.unique(codes[known], return_inverse=True)[1]
    occurs = np.zeros((int(numbers.max(initial=-1)) + 1, 3), bool)
    occurs[numbers, parts[known]] = True
    return occurs.sum(axis=1) > 1


def _crossing(codes: np.ndarray, parts: np.ndarray) -> int:
    """Count the known groups with samples in several parts."""
    return int(_in_several_parts(codes, parts).sum())


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _spread(measured: dict[str, list[float | None]], draws: slice) -> dict[str, Any]:
    """Compute mean and SD of each proportion over the draws."""
    spread: dict[str, Any] = {}
    for name, values in measured.items():
        known = [value for value in values[draws] if value is not None]
        several = len(known) > 1  # with very few images, a random split may have no test part
        spread[name] = (
            {"mean": np.mean(known).item(), "sd": np.std(known, ddof=1).item()} if several else None
        )
    return spread


def _findings(found: dict[str, Any], evidence: Evidence) -> Iterator[Finding]:
    run, literature = found["leakage"]["run"], found["leakage"]["literature"]
    exact, near = run["exact"] or 0, run["near"] or 0
    if evidence.split.fault:
        yield Finding("undrawn", "fail", f"The split cannot be drawn: {evidence.split.fault}")
    if exact:
        scored = run["lookup"]  # of one class there is nothing to look up
        looked = "looking the image up scores {} accuracy without a model"
        answer = "" if scored is None else f": {looked.format(percent(scored))}"
        yield Finding(
            "exact_leak",
            "fail",
            f"{percent(exact)} of the test images have an identical copy in training{answer}. Scores on this "
            "split are invalid.",
        )
    if run["patients_crossing"]:
        yield Finding(
            "patients_cross",
            "fail",
            f"Patients in more than one partition: {run['patients_crossing']:,} ({percent(run['patients'])} "
            "of all). The network is tested on people that it was trained on.",
        )
    elif run["groups_crossing"]:
        yield Finding(
            "groups_cross",
            "fail",
            f"Groups in more than one partition: {run['groups_crossing']:,} ({percent(run['groups'])} of "
            "all). Images of one group are not independent of each other.",
        )
    if evidence.split.val_is_test:
        yield Finding(
            "val_is_test",
            "fail",
            "The epoch was chosen on the test partition (val_is_test): no score tests it.",
        )
    if near > exact:
        yield Finding(
            "near_leak",
            "warning",
            f"{percent(near)} of the test images have an identical or near copy in training.",
        )
    if literature["exact"] and literature["exact"]["mean"]:
        yield Finding("random_leak", "note", _random_sentence(literature))


def _random_sentence(literature: dict[str, Any]) -> str:
    mean, sd = literature["exact"]["mean"], literature["exact"]["sd"]
    scored = literature["lookup"]  # of one class there is nothing to look up
    answer = f"; looking them up would score {percent(scored['mean'])}" if scored else ""
    return (
        f"A random 80:20 split of these files would put a copy of {100 * mean:.1f} ± {percent(sd)} of its "
        f"test images into training{answer}."
    )
