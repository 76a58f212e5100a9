"""Texts of checklist items about the data, from audit, split and predictions; empty where not recorded."""

from fibrolab import keys
from fibrolab.reporting import numbers, run_sentences, vocabulary
from fibrolab.runs.trained_run import Run

PHANTOM = "phantom.source"
SIMULATED = "All data are simulated: no patient was examined."
CROPS = {
    "none": "Images are used whole.",
    "borders": "Burned-in borders and text are cropped.",
    "mask": "Images are cropped to their masks, and black outside them.",
}
EXTERNAL, BY_SITE = "external", "by_site"  # names of splits whose test set is external
EACH_SITE = "leave_one_site_out"  # and that of each fold


def data(run: Run) -> str:
    """Return name and size of the data set, whether it is simulated, and the size of other training data."""
    name = run.setting("data.name")
    if not name:
        return ""
    drawn = SIMULATED if PHANTOM in str(run.setting("data._target_")) else ""
    return " ".join(filter(None, (f"Data set {name}.", drawn, counts(run), _other_training_data(run))))


def training_data(run: Run) -> str:
    """Return the training data; of an external evaluation, only its size is recorded."""
    return _other_training_data(run) if _is_external(run) else data(run)


def _other_training_data(run: Run) -> str:
    """Return the size of the training data of an external evaluation; empty for other runs."""
    if not _is_external(run) or run.split is None:
        return ""
    known = run.split[keys.PARTITION].value_counts()
    train, validation = (int(known.get(part, 0)) for part in (keys.TRAIN, keys.VALIDATION))
    return f"The network was trained on {train:,} and validated on {validation:,} samples of an earlier run."


def _is_external(run: Run) -> bool:
    """Return whether a trained network was evaluated on another data set."""
    return bool(run.setting("split.name") == EXTERNAL)


def counts(run: Run) -> str:
    """Return the numbers of samples, groups, patients and files left out."""
    found = run.audit
    if not isinstance(found.get("samples"), int):
        return ""
    names = [name for name in ("samples", "groups") if isinstance(found.get(name), int)]
    if found.get("patients") == found.get("groups"):
        names = ["samples"]  # every group is a patient
    sizes = [f"{found[name]:,} {name}" for name in names]
    sizes.append(
        f"{found['patients']:,} patients" if found.get("patients") else "number of patients not known"
    )
    return f"{', '.join(sizes)}. {left_out(run)}".strip()


def left_out(run: Run) -> str:
    """Return the number of files that could not be read; the report lists them."""
    files = run.audit.get("left_out")
    if files is None:
        return ""
    return f"Files left out: {len(files):,}, listed in the report." if files else "No file was left out."


def missing(run: Run) -> str:
    """Return the files left out, and how a network with several inputs handles a missing one."""
    parts = [left_out(run)]
    if len(run.setting("model.branches", {})) > 1:
        dropped = run.setting("model.fusion.modality_dropout", 0)
        how = f"; in training, inputs were dropped with probability {dropped:g}" if dropped else ""
        parts.append(f"A sample without one of the inputs is predicted from the others{how}.")
    return " ".join(filter(None, parts))


def checks(run: Run) -> str:
    """Return that the data were audited, and the verdict."""
    found = run_sentences.verdict(run)
    return (
        f"The data were audited for copies, leakage, shortcuts and irregular labels: {found.word}."
        if found
        else ""
    )


def identity(run: Run) -> str:
    """Return the personal data that the audit found in files and tables."""
    if "identity" not in run.audit:
        return ""
    fields = [*run.audit["identity"], *(run.audit.get("personal_columns") or [])]
    found = f"personal fields: {', '.join(map(str, fields))}" if fields else "no personal field"
    return f"The audit found {found} in the headers and tables that were read."


def inputs(run: Run) -> str:
    """Return the modalities that the network takes."""
    modalities = _inputs_of(run)
    return f"Input: {vocabulary.listed(modalities)}." if modalities else ""


def selected(run: Run) -> str:
    """Return the region of an image, and the frames of a clip, that are used."""
    parts, modalities = [inputs(run)], _inputs_of(run)
    if keys.IMAGE in modalities or keys.CLIP in modalities:
        parts.append(CROPS[run.setting("preprocess.crop", "none")])
    if keys.CLIP in modalities and (length := run.setting("segment.length")):
        parts.append(f"Frames per clip: {length}, sampling: {run.setting('segment.name')}.")
    return " ".join(filter(None, parts))


def scanners(run: Run) -> str:
    """Return the scanners with their counts."""
    return _values(run, "scanner", "Scanners")


def sites(run: Run) -> str:
    """Return the sites with their counts."""
    return _values(run, "site", "Sites")


def sizes(run: Run) -> str:
    """Return samples and groups of each partition."""
    parts = [f"{name} {_size(run, name)}" for name, part in run.partitions.items() if any(part.values())]
    return " ".join(
        filter(None, (f"Samples: {'; '.join(parts)}." if parts else "", _other_training_data(run)))
    )


def partitions(run: Run) -> str:
    """Return samples and groups of each partition, by class."""
    parts = [
        f"{name} {_size(run, name)} ({', '.join(f'{label} {count:,}' for label, count in part.items())})"
        for name, part in run.partitions.items()
        if any(part.values())
    ]
    return f"Samples: {'; '.join(parts)}." if parts else ""


def disjoint(run: Run) -> str:
    """Return the number of groups in several partitions, counted in the split."""
    if _is_external(run):
        # The groups of the two data sets have different names by construction: counting would show nothing.
        found = [
            each["sentence"] for each in run.audit.get("findings", []) if each["key"].startswith(EXTERNAL)
        ]
        return " ".join(["The test set is a different data set from the training data.", *found])
    if run.split is None or keys.GROUP_ID not in run.split:
        return ""
    parts = run.split.groupby([keys.GROUP_ID, keys.FOLD] if keys.FOLD in run.split else keys.GROUP_ID)
    crossing = int((parts[keys.PARTITION].nunique() > 1).sum())
    unit = "Patients" if run.audit.get("patients") else "Clusters of copies (patients are not known)"
    text = f"{unit} in several partitions: {crossing:,}."
    if run.setting("split.val_is_test"):
        return f"None: the validation and test sets are the same samples. {text}"
    return text


def test_size(run: Run) -> str:
    """Return the numbers of samples and groups of the test set."""
    test = run.scored()
    if test is None:
        return ""
    return f"{len(test):,} samples of {test[keys.GROUP_ID].nunique():,} {_unit(run)} in the test set."


def internal(run: Run) -> str:
    """Return the internal test set; empty where the test set is external."""
    size, name = test_size(run), run.setting("data.name")
    elsewhere = run.setting("split.name") in (EXTERNAL, BY_SITE, EACH_SITE)
    return "" if elsewhere or not (size and name) else f"Test set of {name}: {size}"


def external(run: Run) -> str:
    """Return the external test set: another data set, or a held-out site."""
    size, name = test_size(run), run.setting("data.name")
    if not (size and name):
        return ""
    if _is_external(run):
        return f"Data set {name}, which was not used for training: {size}"
    if run.setting("split.name") == EACH_SITE:
        return f"Sites of {name}, each held out of the training that was tested on it: {size}"
    held_out = run.setting("split.site") if run.setting("split.name") == BY_SITE else None
    return f"Site {held_out} of {name}, held out of training: {size}" if held_out else ""


def _size(run: Run, partition: str) -> str:
    samples = sum(run.partitions[partition].values())
    groups = (run.audit.get("partition_groups") or {}).get(partition)
    return f"{samples:,} of {groups:,} {_unit(run)}" if groups else f"{samples:,}"


def _unit(run: Run) -> str:
    """Return what a group is, if the audit knows it."""
    return "patients" if run.audit.get("patients") else "groups"


def _inputs_of(run: Run) -> list[str]:
    branches = run.setting("model.branches", {})
    return list(dict.fromkeys(str(branch["input"]) for branch in branches.values() if branch.get("input")))


def _values(run: Run, column: str, title: str) -> str:
    """Return the values of a column with their counts in each partition."""
    table = run.tables.get("cohort")
    if table is None:
        return ""
    values = []
    for row in vocabulary.records(table[table["variable"] == column]):
        parts = [f"{part} {row[part]}" for part in keys.PARTITIONS if row[part]]
        values.append(f"{str(row['statistic']).removesuffix(', n (%)')}: {', '.join(parts)}")
    return f"{title}. {'; '.join(values)}.".replace(numbers.SPACE, " ") if values else ""
