import io
from pathlib import Path

import fake_run
import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import roc_auc_score

from fibrolab import keys
from fibrolab.errors import StorageError
from fibrolab.reporting import figures


def texts(figure: Figure) -> list[str]:
    """Every word on a figure once it is drawn, legends and ticks included."""
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def test_confusion_matrix_shows_counts_and_row_percent() -> None:
    shown = texts(figures.confusion_matrix(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), ["F0", "F1"]))
    assert {"2\n67 %", "1\n33 %", "0\n0 %", "1\n100 %", "F0\nn = 3", "F1\nn = 1"} <= set(shown)


def test_confusion_matrix_shows_no_percent_of_an_absent_class() -> None:
    shown = texts(figures.confusion_matrix(np.array([0, 0]), np.array([0, 1]), ["F0", "F1"]))
    assert shown.count("–") == 2


def test_roc_legend_holds_the_areas_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    truth, scores = random.integers(0, 3, 60), random.dirichlet(np.ones(3), 60).round(1)  # rounded: with ties
    shown = texts(figures.roc(truth, scores, ["F0", "F1", "F2"]))
    for k, name in enumerate(("F0", "F1", "F2")):
        area = roc_auc_score(truth == k, scores[:, k])
        assert f"{name}: AUC {area:.3f}".replace("0.", ".") in shown


def test_roc_says_which_class_is_absent_and_which_stands_alone() -> None:
    shown = texts(figures.roc(np.zeros(4, int), np.full((4, 3), 1 / 3), ["F0", "F1", "F2"]))
    assert {"F0: no other class", "F1: no cases", "F2: no cases"} <= set(shown)


def test_roc_of_two_classes_is_one_curve_of_the_second() -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.8]])
    shown = texts(figures.roc(np.array([0, 1]), scores, ["<F2", ">=F2"]))
    assert [text for text in shown if "AUC" in text] == [">=F2: AUC 1.000"]


def test_curves_skip_empty_cells_and_mark_the_best_epoch() -> None:
    history = fake_run.history(12)
    loss, accuracy, rate = figures.curves(history).axes
    training, validation, mark = loss.lines
    assert len(training.get_xdata()) == len(validation.get_xdata()) == 12
    assert mark.get_xdata()[0] == history.loc[history["val/loss"].idxmin(), "epoch"].min()
    assert (accuracy.get_title(loc="left"), rate.get_title(loc="left")) == ("Accuracy", "Learning rate")


def test_curves_follow_the_monitor_and_its_mode() -> None:
    history = pd.DataFrame({"epoch": [0, 1, 2], "val/f1": [0.1, 0.2, 0.3], "val/auc": [0.6, 0.9, 0.7]})
    loss, metric, rate = figures.curves(history, monitor="val/auc", mode="max").axes
    assert metric.get_title(loc="left") == "AUC"
    assert metric.lines[-1].get_xdata()[0] == 1
    assert loss.texts[0].get_text() == rate.texts[0].get_text() == "not recorded"


@pytest.mark.parametrize("name", ["lr", "train/lr", "lr-AdamW", "lr-AdamW/pg1"])
def test_the_learning_rate_is_found_under_the_names_that_loggers_give_it(name: str) -> None:
    rate = figures.curves(pd.DataFrame({"epoch": [0, 1], name: [1e-3, 1e-4], "val/lrap": [0.1, 0.2]})).axes[2]
    assert [list(line.get_ydata()) for line in rate.lines] == [[1e-3, 1e-4]]


def test_partitions_name_their_sizes() -> None:
    counts = {"train": {"F0": 1200, "F1": 34}, "test": {"F0": 5, "F1": 6}}
    assert {"Train, n = 1,234", "Test, n = 11", "1,200", "34"} <= set(texts(figures.partitions(counts)))


def test_samples_show_greys_as_they_are() -> None:
    images = np.stack([np.full((8, 8), level, np.uint8) for level in range(100, 110)])
    sheet = figures.samples(images, [f"F{k % 5}" for k in range(10)])
    shown = [axes.images[0] for axes in sheet.axes if axes.images]
    assert len(shown) == 10
    assert all(image.get_clim() == (0, 255) for image in shown)


def test_a_class_named_like_a_formula_is_drawn_as_a_name() -> None:
    names = ["$x", "a_{b"]
    assert "$x" in texts(figures.confusion_matrix(np.array([0, 1]), np.array([0, 1]), names))


def test_no_two_curves_share_a_colour_or_a_dash() -> None:
    assert len(set(figures.COLOURS)) == len(set(map(str, figures.DASHES))) == len(figures.COLOURS)


def test_drawing_leaves_the_global_style_alone() -> None:
    before = dict(matplotlib.rcParams)
    figures.partitions({"train": {"F0": 1}})
    assert dict(matplotlib.rcParams) == before


def test_a_saved_figure_is_a_png_of_150_dpi_with_equal_bytes_each_time(tmp_path: Path) -> None:
    names = [tmp_path / "figures" / f"{k}.png" for k in range(2)]
    paths = [figures.save(figures.partitions({"train": {"F0": 1}}), name) for name in names]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with Image.open(paths[0]) as image:
        assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
    assert sorted(path.name for path in paths[0].parent.iterdir()) == ["0.png", "1.png"]


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("a file stands where the folder should be")
    with pytest.raises(StorageError, match="could not be written"):
        figures.save(Figure(), tmp_path / "figures" / "a.png")


def test_every_figure_of_a_whole_run_is_drawn(tmp_path: Path) -> None:
    run = fake_run.make(tmp_path, n=30)
    names = [path.stem for path in figures.draw_all(run)]
    assert names == ["confusion_matrix", "roc", "curves", "partitions"]
    assert all((run / keys.FIGURES / f"{name}.png").stat().st_size > 5000 for name in names)


def test_a_run_without_files_or_with_broken_ones_draws_nothing(tmp_path: Path) -> None:
    assert figures.draw_all(tmp_path) == []
    for name in (keys.AUDIT_FILE, keys.HISTORY_FILE, keys.PREDICTIONS_FILE):
        (tmp_path / name).write_text("{broken")
    assert figures.draw_all(tmp_path) == []
