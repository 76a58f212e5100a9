"""What a run's settings, audit and split answer of a checklist; empty where they do not know."""

from collections.abc import Iterable, Mapping
from typing import Any

from fibrolab import keys
from fibrolab.reporting import tables, wording
from fibrolab.reporting.run import Run

DEFAULTS: tuple[Any, ...] = ("none", None, False, 0, 0.0, "", [], {})  # settings that do nothing


def technology(run: Run) -> str:
    """The kind of method: its network and what it tells apart."""
    name, classes = run.setting("model.name"), run.classes
    if not (name and classes):
        return ""
    return f"Deep learning: a {name} network that tells {wording.listed(classes)} apart."


def task(run: Run) -> str:
    """What is asked of an image."""
    if not run.classes:
        return ""
    ends = wording.listed([wording.endpoint(run, name) for name in run.endpoints])
    asked = f"Which of {wording.listed(run.classes)} a sample belongs to"
    return f"{asked}, and the end points {ends}." if ends else f"{asked}."


def classes(run: Run) -> str:
    """The label space, as far as it is known without its reference standard."""
    if not run.classes:
        return ""
    kind = "in this order" if run.setting("task.ordered") else "without an order"
    return f"Classes as labelled in the data: {', '.join(run.classes)}, {kind}."


def data(run: Run) -> str:
    """Name and size of the data set."""
    name, size = run.setting("data.name"), counts(run)
    return f"Data set {name}. {size}".strip() if name else ""


def counts(run: Run) -> str:
    """Samples, groups and patients, and what was left out."""
    found = run.audit
    if not isinstance(found.get("samples"), int):
        return ""
    sizes = [f"{found[name]:,} {name}" for name in ("samples", "groups") if isinstance(found.get(name), int)]
    sizes.append(f"{found['patients']:,} patients" if found.get("patients") else "patients not known")
    return f"{', '.join(sizes)}. {left_out(run)}".strip()


def left_out(run: Run) -> str:
    """How many files could not be taken in; the report lists them."""
    files = run.audit.get("left_out")
    if files is None:
        return ""
    return f"Files left out: {len(files):,}, named in the report." if files else "No file was left out."


def identity(run: Run) -> str:
    """What the audit found of names in files and tables."""
    if "identity" not in run.audit:
        return ""
    fields = [*run.audit["identity"], *(run.audit.get("personal_columns") or [])]
    found = f"personal fields: {', '.join(map(str, fields))}" if fields else "no personal field"
    return f"The audit found {found} in the headers and tables that were read."


def inputs(run: Run) -> str:
    """The modalities that the network eats."""
    branches = run.setting("model.branches", {})
    eaten = dict.fromkeys(str(branch["input"]) for branch in branches.values() if branch.get("input"))
    return f"Input: {wording.listed(list(eaten))}." if eaten else ""


def preprocessing(run: Run) -> str:
    """The deterministic steps."""
    return _settings(run, "preprocess", "Preprocessing")


def scanners(run: Run) -> str:
    """Scanners, as the cohort counts them."""
    return _values(run, "scanner", "Scanners")


def sites(run: Run) -> str:
    """Sites, as the cohort counts them."""
    return _values(run, "site", "Sites")


def split(run: Run) -> str:
    """How samples were dealt out."""
    told = _settings(run, "split", "Split")
    return f"{told} {partitions(run)}".strip() if told else ""


def partitions(run: Run) -> str:
    """Samples by partition and class."""
    parts = [
        f"{name} {sum(part.values()):,} ({', '.join(f'{label} {count:,}' for label, count in part.items())})"
        for name, part in run.partitions.items()
    ]
    return f"Samples: {'; '.join(parts)}." if parts else ""


def disjoint(run: Run) -> str:
    """Whether groups stay in one part, counted in the split itself."""
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
    return (
        "" if test is None else f"{len(test):,} samples of {test[keys.GROUP_ID].nunique():,} groups tested."
    )


def internal(run: Run) -> str:
    """The test set."""
    size, name = test_size(run), run.setting("data.name")
    return f"Test part of {name}: {size}" if size and name else ""


def model(run: Run) -> str:
    """Branches, fusion and head."""
    branches = run.setting("model.branches", {})
    if not branches:
        return ""
    parts = [f"{name}: {branch.get('name', 'own network')}" for name, branch in branches.items()]
    joined = run.setting("model.fusion.name")
    fusion = f" Fusion: {joined}." if joined else ""
    told = f"{run.setting('model.name')}, branches {', '.join(parts)}.{fusion}"
    return f"{told} All settings are in {keys.CONFIG_FILE}."


def weights(run: Run) -> str:
    """Where the weights of each branch came from."""
    told = []
    for name, branch in run.setting("model.branches", {}).items():
        if "pretrained" not in branch:
            continue
        start = branch.get("weights") or ("pretrained" if branch["pretrained"] else "random")
        told.append(f"{name} ({branch.get('name', 'own network')}): {start}")
    seed = run.setting("seed")
    return f"Started from: {'; '.join(told)}. Seed {seed}." if told else ""


def software(run: Run) -> str:
    """Python, packages and the commit of the code."""
    packages = run.environment.get("packages") or {}
    if not packages:
        return ""
    commit = run.environment.get("git_commit")
    changed = " with uncommitted changes" if run.environment.get("git_dirty") else ""
    code = f"fibrolab at commit {commit}{changed}; " if commit else ""
    versions = ", ".join(f"{name} {version}" for name, version in packages.items())
    return f"{code}Python {run.environment.get('python', 'of unknown version')}, {versions}."


def training(run: Run) -> str:
    """Optimizer, schedule, loss, sampler, augmentation, length."""
    parts = ("optimizer", "scheduler", "loss", "sampler")
    told = [sentence for part in parts if (sentence := _settings(run, part, part.capitalize()))]
    if not told:
        return ""
    steps = [str(step.get("name", step)) for step in run.setting("augment.transforms", [])]
    told.append(f"Augmentation: {', '.join(steps)}." if steps else "No augmentation.")
    epochs, size = run.setting("trainer.max_epochs"), run.setting("batch_size")
    told.append(f"At most {epochs} epochs" + (f" of batches of {size}." if size else "."))
    if patience := run.setting("callbacks.early_stopping.patience"):
        told.append(f"Early stopping after {patience} epochs without a better {run.setting('monitor')}.")
    return " ".join(told)


def balance(run: Run) -> str:
    """What was done about classes of unequal size."""
    sampler, weighing = run.setting("sampler.name"), run.setting("loss.class_weights")
    if not sampler:
        return ""
    means = f"Class weights in the loss: {weighing or 'none'}. Sampler: {sampler}."
    return f"{means} Probabilities were not corrected afterwards, but for the temperature in the report."


def selection(run: Run) -> str:
    """Which epoch was kept."""
    if not (monitor := run.setting("monitor")):
        return ""
    word = "highest" if run.setting("mode") == "max" else "lowest"
    return f"The epoch with the {word} {monitor}."


def averaging(run: Run) -> str:
    """Whether several weights were averaged."""
    name = run.setting("averaging.name")
    if not name:
        return ""
    return "None: one network, the weights of one epoch." if name == "none" else f"Averaged weights: {name}."


def record(run: Run) -> str:
    """Where the run can be found again."""
    command, started = run.command, run.environment.get("started")
    if not command:
        return ""
    told = f"Started {started} by `{command}`. " if started else f"Command: `{command}`. "
    return f"{told}Settings, split, predictions and weights are in the run's folder."


def not_for(run: Run) -> str:
    """What no run of this software is for."""
    return "Decisions on patients: research software, not a medical device."


def _settings(run: Run, part: str, title: str) -> str:
    """A group of settings in one sentence, those left out that do nothing."""
    group = run.setting(part)
    if not isinstance(group, Mapping) or not group.get("name"):
        return ""
    kept = [f"{word} {value}" for word, value in _spelled(group.items()) if word != "name"]
    name = group["name"]
    return f"{title}: {name} ({', '.join(kept)})." if kept else f"{title}: {name}."


def _spelled(items: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [
        (word.replace("_", " "), value)
        for word, value in items
        if not word.startswith("_") and not isinstance(value, list | dict) and value not in DEFAULTS
    ]


def _values(run: Run, column: str, title: str) -> str:
    table = run.tables.get("cohort")
    if table is None:
        return ""
    rows = [row for row in wording.records(table) if row["variable"] == column]
    parts = [f"{row['statistic']}: test {row[keys.TEST]}" for row in rows if row[keys.TEST]]
    return f"{title}: {'; '.join(parts)}.".replace(tables.SPACE, " ") if parts else ""
