"""What a run's settings answer of a checklist about its network and training; empty where not known."""

from collections.abc import Iterable, Mapping
from typing import Any

from fibrolab import keys
from fibrolab.reporting import vocabulary
from fibrolab.reporting.checklists import data_items as data_answers
from fibrolab.runs.trained_run import Run

DEFAULTS: tuple[Any, ...] = ("none", None, False, 0, 0.0, "", [], {})  # settings that do nothing
OWN = "own network"  # a branch without a backbone


def technology(run: Run) -> str:
    """The kind of method: its networks and what they tell apart."""
    branches, classes = run.setting("model.branches", {}), run.classes
    if not (branches and classes):
        return ""
    names = list(dict.fromkeys(str(branch.get("name", OWN)) for branch in branches.values()))
    return f"Deep learning: {vocabulary.listed(names)} to tell {vocabulary.listed(classes)} apart."


def task(run: Run) -> str:
    """What is asked of an image."""
    if not run.classes:
        return ""
    ends = vocabulary.listed([vocabulary.endpoint(run, name) for name in run.endpoints])
    asked = f"Which of {vocabulary.listed(run.classes)} a sample belongs to"
    return f"{asked}, and the end points {ends}." if ends else f"{asked}."


def classes(run: Run) -> str:
    """The label space, as far as it is known without its reference standard."""
    if not run.classes:
        return ""
    kind = "in this order" if run.setting("task.ordered") else "without an order"
    return f"Classes as labelled in the data: {', '.join(run.classes)}, {kind}."


def preprocessing(run: Run) -> str:
    """The deterministic steps that were switched on, in their order."""
    size = run.setting("preprocess.size")
    if not size:
        return ""
    strength, equalize = run.setting("preprocess.denoise", 0), run.setting("preprocess.equalize", "none")
    steps = {
        "crop of burned-in borders": run.setting("preprocess.crop", "none") != "none",
        f"non-local means of strength {strength:g}": strength > 0,
        "histogram equalisation": equalize in ("histogram", "both"),
        f"CLAHE with clip limit {run.setting('preprocess.clahe_clip')}": equalize in ("clahe", "both"),
    }
    told = [*(step for step, done in steps.items() if done), f"resize to {size} x {size} px"]
    eaten = [branch.get("input") for branch in run.setting("model.branches", {}).values()]
    colours = " Elastograms are resized and nothing else." if keys.ELASTOGRAM in eaten else ""
    return f"Grey scans: {', '.join(told)}.{colours}"


def split(run: Run) -> str:
    """How samples were dealt out."""
    if run.setting("split.name") == data_answers.EXTERNAL:
        return (
            "Every sample was tested; how the network's own were dealt out stands in the run that trained it."
        )
    return _settings(run, "split", "Split")


def model(run: Run) -> str:
    """The network of each branch, and how they are joined."""
    branches = run.setting("model.branches", {})
    if not branches:
        return ""
    parts = [
        f"{branch.get('name', OWN)} on {branch.get('input', place)}" for place, branch in branches.items()
    ]
    joined = run.setting("model.fusion.name")
    fusion = f", joined by {joined}" if joined and len(branches) > 1 else ""
    told = f"Model {run.setting('model.name')}: {vocabulary.listed(parts)}{fusion}."
    return f"{told} All settings are in {keys.CONFIG_FILE}."


def weights(run: Run) -> str:
    """Where the weights of each branch came from."""
    told = []
    for name, branch in run.setting("model.branches", {}).items():
        if "pretrained" not in branch:
            continue
        start = branch.get("weights") or ("pretrained" if branch["pretrained"] else "random")
        told.append(f"{name} ({branch.get('name', OWN)}): {start}")
    seed = run.setting("seed")
    return f"Started from: {'; '.join(told)}. Seed {seed}." if told else ""


def code(run: Run) -> str:
    """The commit of the code."""
    commit = run.environment.get("git_commit")
    changed = " with uncommitted changes" if run.environment.get("git_dirty") else ""
    return f"fibrolab at commit {commit}{changed}." if commit else ""


def software(run: Run) -> str:
    """The commit of the code, Python and packages."""
    packages = run.environment.get("packages") or {}
    if not packages:
        return ""
    versions = ", ".join(f"{name} {version}" for name, version in packages.items())
    return f"{code(run)} Python {run.environment.get('python', 'of unknown version')}, {versions}.".strip()


def training(run: Run) -> str:
    """Optimizer, schedule, loss, sampler, augmentation, length."""
    parts = ("optimizer", "scheduler", "loss", "sampler")
    told = [sentence for part in parts if (sentence := _settings(run, part, part.capitalize()))]
    if not told:
        return ""
    steps = [_step(step) for step in run.setting("augment.transforms", [])]
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
    weights = ", weights" if (run.folder / keys.CHECKPOINTS).is_dir() else ""
    return f"{told}Settings, split{weights} and predictions are in the run's folder."


def not_for(run: Run) -> str:
    """What no run of this software is for."""
    return "Decisions on patients: research software, not a medical device."


def _settings(run: Run, part: str, title: str) -> str:
    """A group of settings in one sentence, those left out that do nothing."""
    group = run.setting(part)
    if not isinstance(group, Mapping) or not group.get("name"):
        return ""
    name = group["name"]
    told = [word if value is True else f"{word} {value}" for word, value in _spelled(group.items())]
    kept = [words for words in told if words != name]
    return f"{title}: {name} ({', '.join(kept)})." if kept else f"{title}: {name}."


def _step(step: Mapping[str, Any]) -> str:
    """A random transform with the ranges that it draws from."""
    kept = [f"{word} {value}" for word, value in _spelled(step.items()) if value is not True]
    ranges = {word: value for word, value in step.items() if isinstance(value, list) and len(value) == 2}
    kept += [f"{word.replace('_', ' ')} {low} to {high}" for word, (low, high) in ranges.items()]
    name = str(step.get("name"))
    return f"{name} ({', '.join(kept)})" if kept else name


def _spelled(items: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The settings that do something, but for the name, and lists, which no sentence holds."""
    return [
        (word.replace("_", " "), value)
        for word, value in items
        if word != "name"
        and not word.startswith("_")
        and not isinstance(value, list | dict)
        and value not in DEFAULTS
    ]
