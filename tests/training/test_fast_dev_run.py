"""Every model, data set and experiment with one batch per stage, up to the report.

What differs only in its network is not drawn again: the report of each kind of data and of each paper is.
The data sets are read by model=single, and have a task each: these are not run again for themselves.
"""

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import pandas as pd
import pytest
import yaml
from compose import composed, names, of_pixels, of_samples, run_folder
from drawn import unreported
from omegaconf import DictConfig
from own_data import PHANTOMS, STAGES, settings

from fibrolab import keys
from fibrolab.data import splits
from fibrolab.errors import ConfigError, TrainingError

FILES = (
    keys.CONFIG_FILE, keys.MANIFEST_FILE, keys.SPLIT_FILE, keys.AUDIT_FILE, keys.HISTORY_FILE,
    keys.PREDICTIONS_FILE, keys.METRICS_FILE, keys.ENVIRONMENT_FILE,
)  # fmt: skip
DATA = {"multimodal": "phantom_swe", "video": "phantom_clips"}  # of models that take more than an image
TINY = ["backbone@model.branches.a=tiny", "backbone@model.branches.b=tiny"]
FUSION = "concatenate"  # of model=hybrid, which is run as a model
LEAST = 80  # smallest side for Inception-V3 [px]
REPORTED = (  # an experiment of each paper
    "paper1/resnet50", "paper2/efficientnet_b0", "paper3/resnet18", "paper4/gm_em", "paper5/cnn_lstm",
)  # fmt: skip
NEED_OTHERS = (  # choices that need another setting too
    "binary", "saved", "by_site", "leave_one_site_out", "given", "paper2_given", "paper3", "paper3_random",
)  # fmt: skip


def without_earlier_weights(config: DictConfig) -> DictConfig:
    """Remove initial weights of an earlier run, which some experiments require."""
    for branch in config.model.get("branches", {}).values():
        if "weights" in branch:
            branch.weights = None
    return config


def dev_run(root: Path, *overrides: str) -> Path:
    from fibrolab.pipeline import run

    small = ("debug=fast_dev_run", f"paths.root={root}", "preprocess.size=64", "pretrained=false")
    config = without_earlier_weights(composed(*small, *overrides))
    assert run(config) is None  # no epoch was finished, so there is no best value
    return run_folder(root)


@pytest.fixture
def no_report() -> Iterator[None]:
    """End a run with its tables, see `drawn.unreported`."""
    with unreported():
        yield


def assert_whole(folder: Path) -> None:
    assert (folder / keys.REPORT_FILE).is_file()
    classes = yaml.safe_load((folder / keys.CONFIG_FILE).read_text())["task"]["classes"] or STAGES
    metrics = set(pd.read_csv(folder / keys.METRICS_FILE)["metric"])
    assert {f"sensitivity_{name}" for name in classes} <= metrics
    assert {path.stem for path in (folder / keys.FIGURES).glob("*.png")} >= {
        "confusion_matrix", "curves", "partitions", "roc", "samples",
    }  # fmt: skip
    assert_evaluated(folder)


def assert_evaluated(folder: Path) -> None:
    assert [name for name in FILES if not (folder / name).is_file()] == []
    predicted = pd.read_csv(folder / keys.PREDICTIONS_FILE)
    validated = not splits.lacks_validation(yaml.safe_load((folder / keys.CONFIG_FILE).read_text())["split"])
    assert set(predicted[keys.PARTITION]) == {keys.TEST, *([keys.VALIDATION] if validated else [])}
    assert predicted.filter(regex="^p_").sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
    assert "accuracy" in set(pd.read_csv(folder / keys.METRICS_FILE)["metric"])


@pytest.mark.usefixtures("blank_figures")
@pytest.mark.parametrize("model", [name for name in of_samples("model") if name != "single"])
def test_every_model_runs_to_its_report(model: str, root: Path) -> None:
    data = DATA.get(model, "phantom")
    small = TINY if model == "hybrid" else []  # the networks of the paper: experiment=paper1/hybrid
    assert_whole(dev_run(root, f"model={model}", f"data={data}", *PHANTOMS[data], *small))


@pytest.mark.usefixtures("coarse_figures")
@pytest.mark.parametrize("data", [name for name in names("data") if name != "pseudo_masks"])
def test_every_data_set_runs_to_its_report(data: str, root: Path) -> None:
    folder = dev_run(root, f"data={data}", *settings(data, root / "own"))
    assert_whole(folder)
    config = yaml.safe_load((folder / keys.CONFIG_FILE).read_text())
    assert config["model"]["name"] == "single"
    assert config["task"]["name"] == ("lesion" if "lesions" in data else "stage")
    assert (folder / keys.AUDIT_PAGE).is_file()


@pytest.mark.usefixtures("no_report")
def test_a_network_takes_colour_images(root: Path) -> None:
    own = settings("swe_pairs", root / "own")
    assert_evaluated(dev_run(root, "data=swe_pairs", "model.branches.image.input=elastogram", *own))


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("frames", names("frames"))
def test_every_model_over_frames_is_trained_and_evaluated(frames: str, root: Path) -> None:
    network = "r3d_18" if frames == "none" else "tiny"
    chosen = [f"backbone@model.branches.clip={network}", f"frames@model.branches.clip.frames={frames}"]
    clips = ["data=phantom_clips", *PHANTOMS["phantom_clips"], "segment.length=4"]
    assert_evaluated(dev_run(root, "model=video", *chosen, *clips))


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("clinical", names("clinical"))
def test_every_set_of_clinical_values_is_trained_and_evaluated(clinical: str, root: Path) -> None:
    swe = ["model=multimodal", "data=phantom_swe", *PHANTOMS["phantom_swe"]]
    assert_evaluated(dev_run(root, *swe, f"+clinical@model.branches.clinical={clinical}"))


@pytest.mark.usefixtures("no_report")
def test_a_training_warns_of_test_samples_without_what_every_training_sample_has(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    swe = ["model=multimodal", "data=phantom_swe", *PHANTOMS["phantom_swe"], "data.missing=0.07"]
    dev_run(root, *swe, "split.seed=3")
    (said,) = (each for each in caplog.messages if each.startswith("Validation or test samples lack"))
    assert "lack elastogram, which every training sample has" in said


@pytest.mark.usefixtures("blank_figures")
def test_skipped_unreadable_files_are_in_the_report(damaged_tree: Path, root: Path) -> None:
    words = ["data=kaggle_fibrosis", f"data.root={damaged_tree}", "data.on_unreadable=skip"]
    page = (dev_run(root, *words) / keys.REPORT_FILE).read_text()
    assert all(name in page for name in ("F1/f1_04.png", "F2/f2_05.png", "F3/f3_06.png"))


def test_a_loss_that_is_not_finite_ends_the_run(root: Path) -> None:
    with pytest.raises(TrainingError, match=r"Lower optimizer\.lr"):
        dev_run(root, "optimizer=sgd", "optimizer.lr=1e30", *PHANTOMS["phantom"])


def test_a_film_network_in_bfloat16_on_a_cpu_is_refused(root: Path) -> None:
    film = ["model=video", "backbone@model.branches.clip=r3d_18", "frames@model.branches.clip.frames=none"]
    clips = ["data=phantom_clips", *PHANTOMS["phantom_clips"], "segment.length=4"]
    with pytest.raises(ConfigError, match="wrong gradients"):
        dev_run(root, *film, "trainer.precision=bf16-mixed", "trainer.accelerator=cpu", *clips)


def test_a_modality_that_the_data_lacks_is_named(root: Path) -> None:
    with pytest.raises(ConfigError, match="takes elastogram, which 'phantom' does not have"):
        dev_run(root, "model.branches.image.input=elastogram", *PHANTOMS["phantom"])


def test_an_image_backbone_refuses_clips(root: Path) -> None:
    with pytest.raises(ConfigError, match="does not take clips"):
        dev_run(root, "data=phantom_clips", "model.branches.image.input=clip", *PHANTOMS["phantom_clips"])


def experiments() -> list:
    """Return the others; those with over a hundred million weights are marked slow."""
    large = {"paper1/hybrid", "paper1/vgg16", "paper3/vgg16"}
    others = [name for name in of_samples("experiment") if name not in REPORTED]
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in large)) for name in others]


@pytest.mark.usefixtures("blank_figures")
@pytest.mark.parametrize("experiment", REPORTED)
def test_an_experiment_of_each_paper_runs_to_its_report(experiment: str, root: Path) -> None:
    assert_whole(experiment_run(experiment, root))


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("experiment", experiments())
def test_every_other_experiment_is_trained_and_evaluated(experiment: str, root: Path) -> None:
    assert_evaluated(experiment_run(experiment, root))


def experiment_run(experiment: str, root: Path) -> Path:
    data = composed(f"experiment={experiment}").data.name
    own = settings(data, root / "own")
    size = f"preprocess.size={LEAST if experiment.startswith('paper4') else 64}"
    return dev_run(root, f"experiment={experiment}", *own, size, "segment.length=4")


@pytest.mark.usefixtures("blank_figures")
@pytest.mark.parametrize("task", [name for name in of_samples("task") if name not in ("stage", "lesion")])
def test_every_task_runs_to_its_report(task: str, root: Path) -> None:
    assert_whole(dev_run(root, "data=phantom", *PHANTOMS["phantom"], f"task={task}"))


TOGETHER = (["loss=binary", "task=ge_F2"], ["model.branches.image.freeze=all", "augment=none"])


def combined_choices() -> list[list[str]]:
    """Return overrides that combine the nth choice of every group, since the groups are independent.

    The longest group is that of the splits; its last ones are combined with settings that belong together.
    """
    choices = {
        group: [f"{group}={name}" for name in of_samples(group.partition("@")[0]) if name not in NEED_OTHERS]
        for group in ("optimizer", "scheduler", "averaging", "sampler", "augment", "loss", "segment",
                      "head@model.head", "preprocess", "split")
    }  # fmt: skip
    rows = [[word for word in row if word] for row in zip_longest(*choices.values(), fillvalue="")]
    for row, further in zip(reversed(rows), TOGETHER, strict=False):
        row += further
    return rows


OTHERS = [
    *combined_choices(),
    *(["model=hybrid", *TINY, f"fusion@model.fusion={name}"] for name in names("fusion") if name != FUSION),
    ["split=by_site", "split.site=south", "preprocess.crop=borders"],
    ["split=paper3_random", "callbacks.early_stopping=null"],
    [
        "trainer.precision=bf16-mixed",
        "augment_on=device",
        "channels_last=true",
        "split=leave_one_site_out",
        "split.folds=2",
        "split.fold=1",
    ],
]


@pytest.mark.usefixtures("blank_figures")
@pytest.mark.parametrize("overrides", OTHERS, ids=" ".join)
def test_every_other_choice_runs_to_its_report(overrides: list[str], root: Path) -> None:
    assert_whole(dev_run(root, *overrides, *PHANTOMS["phantom"]))


@pytest.mark.usefixtures("blank_figures")
@pytest.mark.parametrize(("model", "loss"), list(zip(of_pixels("model"), of_pixels("loss"), strict=True)))
def test_every_segmenter_and_every_loss_of_pixels_runs_to_its_report(
    model: str, loss: str, root: Path
) -> None:
    words = [f"model={model}", f"loss={loss}", "data=phantom_masks", *PHANTOMS["phantom_masks"]]
    folder = dev_run(root, *words)
    wanted = (keys.MASK_MEASURES_FILE, keys.MASKS_FILE, keys.REPORT_FILE, keys.AUDIT_PAGE)
    assert [name for name in wanted if not (folder / name).is_file()] == []
    assert "dice" in set(pd.read_csv(folder / keys.METRICS_FILE)["metric"])
