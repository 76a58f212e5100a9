import io
import warnings
from pathlib import Path
from xml.etree import ElementTree

import fake_run
import matplotlib
import numpy as np
import pandas as pd
import pytest
import yaml
from drawn import texts
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from fibrolab import keys
from fibrolab.errors import StorageError
from fibrolab.reporting.figures import drift
from fibrolab.reporting.figures import run as figures
from fibrolab.reporting.figures.counts import confusion_matrix, partitions
from fibrolab.reporting.figures.images import mistakes, samples
from fibrolab.reporting.figures.learning_curves import curves, curves_of_networks
from fibrolab.reporting.figures.style import COLOURS, DASHES, save, styled
from fibrolab.runs import trained_run as runs

TABLES = {
    "endpoints": "level,endpoint,rule,threshold,metric,value\n"
    "sample,ge_F2,youden,.4,sensitivity,.8\nsample,ge_F2,youden,.4,specificity,.75\n"
    "sample,ge_F2,half,.5,sensitivity,.7\nsample,ge_F2,half,.5,specificity,.9\n"
    "patient,ge_F2,youden,.4,sensitivity,.9\npatient,ge_F2,youden,.4,specificity,.6\n"
    "sample,ge_F4,youden,,sensitivity,\nsample,ge_F4,youden,,specificity,\n",
    "calibration": "level,probabilities,temperature,measure,value,low,high\n"
    "sample,as predicted,,ece,.081,,\nsample,temperature,2,ece,.021,,\n",
    "subgroups": "variable,value,n,groups,metric,estimate,low,high,method,note\n"
    "site,north,40,14,accuracy,.8,.7,.9,Wilson,\nsite,south,20,7,accuracy,.7,.5,.9,Wilson,\n",
}


def test_confusion_matrix_shows_counts_and_row_percent() -> None:
    shown = texts(confusion_matrix(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), ["F0", "F1"]))
    assert {"2\n67 %", "1\n33 %", "0\n0 %", "1\n100 %", "F0\nn = 3", "F1\nn = 1"} <= set(shown)


def test_confusion_matrix_shows_no_percent_of_an_absent_class() -> None:
    shown = texts(confusion_matrix(np.array([0, 0]), np.array([0, 1]), ["F0", "F1"]))
    assert shown.count("–") == 2


def test_curves_skip_empty_cells_and_mark_the_best_epoch() -> None:
    history = fake_run.history(12)
    loss, accuracy, rate = curves(history).axes
    training, validation, mark = loss.lines
    assert len(training.get_xdata()) == len(validation.get_xdata()) == 12
    assert mark.get_xdata()[0] == history.loc[history["val/loss"].idxmin(), "epoch"].min() + 1
    assert (accuracy.get_title(loc="left"), rate.get_title(loc="left")) == ("Accuracy", "Learning rate")


def test_curves_follow_the_monitor_and_its_mode() -> None:
    history = pd.DataFrame({"epoch": [0, 1, 2], "val/f1": [0.1, 0.2, 0.3], "val/auc": [0.6, 0.9, 0.7]})
    loss, metric, rate = curves(history, monitor="val/auc", mode="max").axes
    assert metric.get_title(loc="left") == "AUC"
    assert metric.lines[-1].get_xdata()[0] == 2
    assert loss.texts[0].get_text() == rate.texts[0].get_text() == "not recorded"


def test_curves_of_networks_are_thin_around_their_mean_over_the_epochs_that_all_reached() -> None:
    ends = {0: [4.0, 2.0, 1.0], 1: [2.0, 4.0]}
    rows = [
        {"repeat": 0, "fold": fold, "epoch": epoch, "train/loss": 1.0, "val/loss": value}
        for fold, values in ends.items()
        for epoch, value in enumerate(values)
    ]
    loss, metric, _ = curves_of_networks(pd.DataFrame(rows)).axes
    drawn = [
        (list(line.get_xdata()), list(line.get_ydata())) for line in loss.lines if line.get_linestyle() != "-"
    ]
    assert drawn == [([1, 2, 3], ends[0]), ([1, 2], ends[1]), ([1, 2], [3, 3])]
    assert loss.get_legend_handles_labels()[1] == ["training", "validation"]
    assert metric.texts[0].get_text() == "not recorded"


@pytest.mark.parametrize("name", ["lr", "train/lr", "lr-AdamW", "lr-AdamW/pg1"])
def test_the_learning_rate_is_found_by_the_names_of_loggers(name: str) -> None:
    rate = curves(pd.DataFrame({"epoch": [0, 1], name: [1e-3, 1e-4], "val/lrap": [0.1, 0.2]})).axes[2]
    assert [list(line.get_ydata()) for line in rate.lines] == [[1e-3, 1e-4]]


def test_partitions_show_their_sizes() -> None:
    counts = {"train": {"F0": 1200, "F1": 34}, "test": {"F0": 5, "F1": 6}}
    assert {"Train, n = 1,234", "Test, n = 11", "1,200", "34"} <= set(texts(partitions(counts)))


def test_samples_have_unchanged_grey_levels() -> None:
    images = np.stack([np.full((8, 8), level, np.uint8) for level in range(100, 110)])
    sheet = samples(images, [f"F{k % 5}" for k in range(10)])
    shown = [image for axes in sheet.axes for image in axes.images]
    assert len(shown) == 10
    assert all(image.get_clim() == (0, 255) for image in shown)
    assert all((image.get_array() == pixels).all() for image, pixels in zip(shown, images, strict=True))


def test_pictures_of_a_sheet_keep_their_shape_and_their_place_below_their_title() -> None:
    shapes = [(8, 16), (16, 8), (8, 8)] * 3
    sheet = mistakes([np.zeros(shape, np.uint8) for shape in shapes], [f"true F{k}" for k in range(9)])
    (axes,) = sheet.axes
    texts(sheet)
    boxes = [image.get_window_extent() for image in axes.images]
    for box, title, (height, width) in zip(boxes, axes.texts, shapes, strict=True):
        assert box.height / box.width == pytest.approx(height / width)
        above = title.get_window_extent()
        assert above.y0 >= box.y1
        assert not any(above.overlaps(other) for other in boxes)
        assert not any(box.overlaps(other) for other in boxes if other is not box)
        assert axes.bbox.x0 <= min(box.x0, above.x0)
        assert max(box.x1, above.x1) <= axes.bbox.x1
        assert axes.bbox.y0 <= box.y0 < above.y1 <= axes.bbox.y1


def test_a_class_name_like_a_formula_is_drawn_as_text() -> None:
    names = ["$x", "a_{b"]
    assert "$x" in texts(confusion_matrix(np.array([0, 1]), np.array([0, 1]), names))


def test_no_two_curves_share_a_colour_or_a_dash() -> None:
    assert len(set(COLOURS)) == len(set(map(str, DASHES))) == len(COLOURS)


def test_drawing_does_not_change_the_global_style() -> None:
    before = dict(matplotlib.rcParams)
    partitions({"train": {"F0": 1}})
    assert dict(matplotlib.rcParams) == before


def test_a_saved_figure_is_a_reproducible_png_of_300_dpi_and_svg(tmp_path: Path) -> None:
    names = [tmp_path / "figures" / f"{k}.png" for k in range(2)]
    paths = [save(partitions({"train": {"F0": 1}}), name) for name in names]
    assert paths == names
    for suffix in (".png", ".svg"):
        assert len({path.with_suffix(suffix).read_bytes() for path in paths}) == 1
    with Image.open(paths[0]) as image:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    assert sorted(path.name for path in paths[0].parent.iterdir()) == ["0.png", "0.svg", "1.png", "1.svg"]


def test_an_svg_is_valid_xml_without_fonts_dates_or_addresses_to_load(tmp_path: Path) -> None:
    path = save(partitions({"train": {"<b> & -- ": 1}}), tmp_path / "a.png")
    root = ElementTree.fromstring(path.with_suffix(".svg").read_bytes())
    text = path.with_suffix(".svg").read_text()
    assert root.attrib["width"] == f"{180 / 25.4 * 72:.6f}".rstrip("0") + "pt"
    assert "<text" not in text
    assert "dc:date" not in text
    assert 'href="http' not in text


def test_images_keep_their_grey_levels_and_colours_in_the_png(tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    colours = np.stack([ramp, ramp.T, 255 - ramp], axis=-1)
    for name, picture, mode in (("grey", ramp, "L"), ("colour", colours, "RGB")):
        path = save(samples([picture], [name]), tmp_path / f"{name}.png")
        with Image.open(path) as image:
            assert image.mode == mode
            shown = np.unique(np.asarray(image.convert("RGB"), int).reshape(-1, 3), axis=0)
        meant = np.stack([ramp] * 3, axis=-1) if mode == "L" else picture
        away = np.abs(meant.reshape(-1, 1, 3).astype(int) - shown).max(axis=-1).min(axis=1)
        assert away.max() <= 1  # the renderer may round a grey down


def test_a_chart_in_256_colours_is_small_and_looks_the_same(tmp_path: Path) -> None:
    counts = {"train": {"F0": 1200, "F1": 34}}
    path, whole = save(partitions(counts), tmp_path / "a.png"), io.BytesIO()
    styled(partitions(counts).savefig)(whole, format="png", dpi=300)
    with Image.open(path) as image, Image.open(whole) as reference:
        seen, meant = (np.asarray(picture.convert("RGB"), int) for picture in (image, reference))
    assert np.abs(seen - meant).max() <= 16
    assert path.stat().st_size < 50_000


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("a file stands where the folder should be")
    with pytest.raises(StorageError, match="could not be written"):
        save(Figure(), tmp_path / "figures" / "a.png")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = fake_run.make(tmp_path_factory.mktemp("run"), n=60)
    for name in ("endpoints", "calibration", "subgroups"):
        (folder / f"{name}.csv").write_text(TABLES[name])
    settings = yaml.safe_load((folder / keys.CONFIG_FILE).read_text())
    settings["task"]["endpoints"] = {"ge_F2": 2, "ge_F4": 4}
    (folder / keys.CONFIG_FILE).write_text(yaml.safe_dump(settings))
    return folder


def test_every_figure_of_a_whole_run_is_drawn_one_or_two_columns_wide_without_a_warning(run: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paths = figures.draw_all(run)
    of_masks = {"area_agreement", "pixel_calibration"}
    expected = [entry.name for entry in figures.FIGURES if entry.draw and entry.name not in of_masks]
    assert [path.stem for path in paths] == expected
    assert all(5_000 < path.stat().st_size < 150_000 for path in paths)
    assert all(path.with_suffix(".svg").stat().st_size > 5_000 for path in paths)
    widths = set()
    for path in paths:
        with Image.open(path) as image:
            widths.add(round(image.width / 300 * 25.4))
    assert widths == {88, 180}


def test_marks_on_curves_are_test_operating_points_at_validation_thresholds(run: Path) -> None:
    assert figures._operating_points(runs.read(run)) == {"ge_F2": (0.8, 0.75)}  # that of ge_F4 is not defined


def test_predictions_are_drawn_at_the_recorded_temperature(run: Path) -> None:
    scores = np.array([[0.2, 0.8]])
    scaled, errors = figures._calibrated(runs.read(run), scores)
    assert list(scaled) == list(errors) == ["As predicted", "At temperature 2.00"]
    assert scaled["At temperature 2.00"] == pytest.approx(np.array([[1 / 3, 2 / 3]]))
    assert errors["As predicted"] == "ECE .081"


def test_a_figure_that_can_no_longer_be_drawn_is_removed(tmp_path: Path) -> None:
    fake_run.history(3).to_csv(tmp_path / keys.HISTORY_FILE, index=False)
    (tmp_path / keys.FIGURES).mkdir()
    (tmp_path / keys.FIGURES / "samples.png").write_text("not one of ours")
    assert figures.draw_all(tmp_path) == [tmp_path / keys.FIGURES / "curves.png"]
    (tmp_path / keys.HISTORY_FILE).unlink()
    assert figures.draw_all(tmp_path) == []
    assert [path.name for path in (tmp_path / keys.FIGURES).iterdir()] == ["samples.png"]


def test_a_binary_run_has_one_decision_curve_and_one_roc_figure(
    tmp_path: Path,
) -> None:
    run = fake_run.make(tmp_path, classes=("<F2", ">=F2"), n=30)
    record = runs.read(run)
    names = {entry.name for entry in figures.FIGURES if entry.draw and entry.draw(record)}
    assert names & {"endpoints", "decision", "roc"} == {"decision", "roc"}


def test_a_run_without_files_or_with_damaged_ones_draws_nothing(tmp_path: Path) -> None:
    assert figures.draw_all(tmp_path) == []
    for name in (keys.AUDIT_FILE, keys.HISTORY_FILE, keys.PREDICTIONS_FILE):
        (tmp_path / name).write_text("{broken")
    assert figures.draw_all(tmp_path) == []


def test_a_sheet_of_mistakes_wraps_titles_and_shortens_only_long_ones() -> None:
    title = "true F4, predicted F0, 93 %"
    shown = texts(mistakes([np.zeros((8, 8), np.uint8)] * 6, [title, "a " * 40, *"bcde"]))
    assert title in [text.replace("\n", " ") for text in shown]
    assert max(text.count("\n") for text in shown) == 2  # three lines, the rest is left out


def test_a_sheet_without_mistakes_has_a_sentence() -> None:
    assert any("No sample" in text for text in texts(mistakes([], [])))


def test_many_classes_have_horizontal_bars() -> None:
    names = [f"a lesion of the kind {k}" for k in range(12)]
    sheet = partitions({part: dict.fromkeys(names, 7) for part in ("train", "test")})
    sheet.canvas.draw()
    first, second = ([label.get_visible() for label in axes.get_yticklabels()] for axes in sheet.axes)
    assert (first, second) == ([True] * 12, [])
    assert sheet.axes[0].yaxis_inverted()


def test_long_names_are_cut_in_the_middle_and_slanted() -> None:
    names = [f"hepatocellular carcinoma, segment {k}" for k in range(5)]
    sheet = confusion_matrix(np.arange(5), np.arange(5), names)
    labels = sheet.axes[0].get_xticklabels()
    assert all(len(label.get_text()) == 22 for label in labels)
    assert {label.get_rotation() for label in labels} == {35}


def test_weeks_of_several_years_name_their_years() -> None:
    def ticks(*weeks: str) -> list[str]:
        known = {"quantity": "n", "before": 1.0, "after": 1.0, "difference": 0.0, "low": 0.0, "high": 0.0}
        figure = drift.by_week(pd.DataFrame({"week": weeks, **known}), weeks, {"n": "n"}, set())
        return [tick.get_text() for tick in figure.axes[0].get_xticklabels()]

    assert ticks("2026-W01", "2026-W02") == ["W01", "W02"]
    assert ticks("2024-W52", "2026-W01", "2026-W02") == ["W52\n2024", "W01\n2026", "W02"]


def test_a_figure_is_laid_out_once_for_both_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid_out: list[Figure] = []
    execute = ConstrainedLayoutEngine.execute
    monkeypatch.setattr(
        ConstrainedLayoutEngine, "execute", lambda self, fig: (laid_out.append(fig), execute(self, fig))[1]
    )
    save(partitions({"train": {"F0": 1}}), tmp_path / "a.png")
    assert len(laid_out) == 1
