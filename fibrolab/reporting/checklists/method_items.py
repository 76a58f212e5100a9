"""Texts of checklist items about network and training, from the settings; empty where not recorded."""

from collections.abc import Mapping

from fibrolab import keys
from fibrolab.reporting import vocabulary
from fibrolab.reporting.checklists import data_items
from fibrolab.runs.trained_run import Run

OWN = "own network"  # a branch without a backbone


def technology(run: Run) -> str:
    """Return the type of method: its networks and classes."""
    branches, classes = run.setting("model.branches", {}), run.classes
    if not (branches and classes):
        return ""
    names = list(dict.fromkeys(str(branch.get("name", OWN)) for branch in branches.values()))
    return f"Deep learning: {vocabulary.listed(names)} to classify {vocabulary.listed(classes)}."


def task(run: Run) -> str:
    """Return the prediction target."""
    if not run.classes:
        return ""
    ends = vocabulary.listed([vocabulary.end_point_of(run, name) for name in run.endpoints])
    target = f"Prediction of the class of a sample: {', '.join(run.classes)}"
    return f"{target}; end points: {ends}." if ends else f"{target}."


def classes(run: Run) -> str:
    """Return the classes; their reference standard is not recorded."""
    if not run.classes:
        return ""
    kind = "ordered" if run.setting("task.ordered") else "not ordered"
    return f"Classes as labelled in the data: {', '.join(run.classes)}, {kind}."


def preprocessing(run: Run) -> str:
    """Return the active preprocessing steps in their order."""
    size = run.setting("preprocess.size")
    if not size:
        return ""
    crop = run.setting("preprocess.crop", "none")
    strength, equalize = run.setting("preprocess.denoise", 0), run.setting("preprocess.equalize", "none")
    steps = {
        "crop of burned-in borders": crop == "borders",
        "crop to the mask with black pixels outside it": crop == "mask",
        f"non-local means of strength {strength:g}": strength > 0,
        "histogram equalisation": equalize in ("histogram", "both"),
        f"CLAHE with clip limit {run.setting('preprocess.clahe_clip')}": equalize in ("clahe", "both"),
    }
    active = [step for step, done in steps.items() if done]
    place = (
        sum("crop" in step for step in active)
        if run.setting("preprocess.resize", "last") == "first"
        else len(active)
    )
    active.insert(place, f"resize to {size} x {size} px")
    inputs = [branch.get("input") for branch in run.setting("model.branches", {}).values()]
    colours = " Elastograms are only resized." if keys.ELASTOGRAM in inputs else ""
    return f"Grey-scale images: {', '.join(active)}.{colours}"


def split(run: Run) -> str:
    """Return the split."""
    if run.setting("split.name") == data_items.EXTERNAL:
        return (
            "All samples are in the test set; the split of the training data is recorded in the training run."
        )
    return _settings(run, "split", "Split")


def model(run: Run) -> str:
    """Return the network of each branch, and their fusion."""
    branches = run.setting("model.branches", {})
    if not branches:
        return ""
    parts = [
        f"{branch.get('name', OWN)} on {branch.get('input', place)}" for place, branch in branches.items()
    ]
    joined = run.setting("model.fusion.name")
    fusion = f", fused by {joined}" if joined and len(branches) > 1 else ""
    description = f"Model {run.setting('model.name')}: {vocabulary.listed(parts)}{fusion}."
    return f"{description} All settings are in {keys.CONFIG_FILE}."


def weights(run: Run) -> str:
    """Return the initial weights of each branch."""
    initial = []
    for name, branch in run.setting("model.branches", {}).items():
        if "pretrained" not in branch:
            continue
        start = branch.get("weights") or ("pretrained" if branch["pretrained"] else "random")
        initial.append(f"{name} ({branch.get('name', OWN)}): {start}")
    seed = run.setting("seed")
    return f"Initial weights: {'; '.join(initial)}. Seed {seed}." if initial else ""


def code(run: Run) -> str:
    """Return the commit of the code."""
    commit = run.environment.get("git_commit")
    changed = " with uncommitted changes" if run.environment.get("git_dirty") else ""
    return f"fibrolab at commit {commit}{changed}." if commit else ""


def software(run: Run) -> str:
    """Return the commit of the code, Python and packages."""
    packages = run.environment.get("packages") or {}
    if not packages:
        return ""
    versions = ", ".join(f"{name} {version}" for name, version in packages.items())
    return f"{code(run)} Python {run.environment.get('python', 'of unknown version')}, {versions}.".strip()


def training(run: Run) -> str:
    """Return optimizer, schedule, loss, sampler, augmentation and number of epochs."""
    groups = ("optimizer", "scheduler", "loss", "sampler")
    parts = [sentence for part in groups if (sentence := _settings(run, part, part.capitalize()))]
    if not parts:
        return ""
    steps = [vocabulary.transform(step) for step in run.setting("augment.transforms", [])]
    parts.append(f"Augmentation: {', '.join(steps)}." if steps else "No augmentation.")
    epochs, size = run.setting("trainer.max_epochs"), run.setting("batch_size")
    parts.append(f"At most {epochs} epochs" + (f" of batches of {size}." if size else "."))
    if patience := run.setting("callbacks.early_stopping.patience"):
        parts.append(
            f"Early stopping after {patience} epochs without improvement of {run.setting('monitor')}."
        )
    return " ".join(parts)


def balance(run: Run) -> str:
    """Return the handling of class imbalance."""
    sampler, weighing = run.setting("sampler.name"), run.setting("loss.class_weights")
    if not sampler:
        return ""
    means = f"Class weights in the loss: {weighing or 'none'}. Sampler: {sampler}."
    fitted = "" if run.lacks_validation else ", apart from the temperature in the report"
    return f"{means} Probabilities were not recalibrated{fitted}."


def selection(run: Run) -> str:
    """Return the criterion by which the epoch was selected."""
    if not (monitor := run.setting("monitor")):
        return ""
    if run.lacks_validation:
        return "None: the last epoch, since no samples were set aside for validation."
    word = "highest" if run.setting("mode") == "max" else "lowest"
    return f"Epoch with the {word} {monitor}."


def averaging(run: Run) -> str:
    """Return whether weights were averaged."""
    name = run.setting("averaging.name")
    if not name:
        return ""
    return "None: one network, the weights of one epoch." if name == "none" else f"Averaged weights: {name}."


def record(run: Run) -> str:
    """Return start, command and records of the run."""
    command, started = run.command, run.environment.get("started")
    if not command:
        return ""
    command_line = f"Started {started} by `{command}`. " if started else f"Command: `{command}`. "
    weights = ", weights" if (run.folder / keys.CHECKPOINTS).is_dir() else ""
    return f"{command_line}Settings, split{weights} and predictions are recorded in the run's folder."


def out_of_scope(run: Run) -> str:
    """Return the out-of-scope use of every run."""
    return "Decisions about patients: this is research software, not a medical device."


def _settings(run: Run, part: str, title: str) -> str:
    """Return a group of settings in one sentence, without those that have no effect."""
    group = run.setting(part)
    if not isinstance(group, Mapping) or not group.get("name"):
        return ""
    name = group["name"]
    active = [word if value is True else f"{word} {value}" for word, value in vocabulary.in_effect(group)]
    kept = [words for words in active if words != name]
    return f"{title}: {name} ({', '.join(kept)})." if kept else f"{title}: {name}."
