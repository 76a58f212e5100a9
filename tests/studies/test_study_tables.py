"""Tables, verdict, README and page of a study, from results alone."""

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from fibrolab.errors import ConfigError, DataError
from fibrolab.evaluation.comparison.arms import END_POINTS
from fibrolab.evaluation.comparison.comparison_table import COMPARATORS, FOLDS
from fibrolab.reporting.figures.study import curves, differences
from fibrolab.reporting.tables.sheet import Sheet
from fibrolab.studies import definition, page, published_sheets, readme, result_sheets, results, verdict
from fibrolab.studies.definition import Study
from fibrolab.studies.parts import parts
from fibrolab.studies.results import NAMES, PLACE, Tables

ROOT = Path(__file__).parents[2]
PLACED = {"protocol": "audited", "task": "F4", "seed": 0}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    content = {
        "title": "Two arms",
        "source": "A paper",
        "arms": {"one": {"label": "One", "settings": ["a=1"]}, "two": {"label": "Two", "settings": ["a=1"]}},
        "protocols": {"audited": {"label": "by patient"}},
        "tasks": ["F4"],
        "measures": ["accuracy", "auc"],
        "sizes": {"small": {"without": {}}},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / results.PUBLISHED_FILE).write_text(
        "arm,task,cohort,class,metric,value,low,high,where\n"
        "one,F4,test,,accuracy,0.90,,,Table 1\none,F4,train,,accuracy,0.99,,,Table 2\n"
        "two,F4,test,,accuracy,0.95,0.93,0.97,Table 1\ntwo,F4,train,,npv,0.8,,,Table 2\n"
        "one,F4,test,F4,sensitivity,0.8,,,Table 1\none,F4,test,,specificity,0.7,,,Table 3\n"
        "fib4,F4,test,,auc,0.75,,,Table 3\n"
    )
    return definition.read(str(tmp_path), tmp_path)


def compared() -> pd.DataFrame:
    """Differences of arm two from arm one and from a marker, as real studies have them."""
    of_arms = {**PLACED, "level": "sample", "family": "headline", "of": "", "fold": "", "arm": "two"}
    of_arms |= {"against": "one"}
    area = {**of_arms, "metric": "auc", "of": "F4"}
    columns = ["value", "low", "high", "p_holm"]
    rows = [
        ({**of_arms, "metric": "accuracy"}, (-0.1, -0.2, 0.0, 0.2)),
        ({**area, "family": END_POINTS}, (-0.05, -0.08, -0.02, 0.01)),
        ({**of_arms, "metric": "auc", "family": FOLDS}, (0.3, 0.2, 0.4, 0.0)),
        ({**of_arms, "metric": "npv"}, (0.5, 0.4, 0.6, 0.0)),
        ({**area, "family": COMPARATORS, "against": "LSM [kPa]"}, (-0.1, -0.2, 0.1, 0.3)),
    ]
    return pd.DataFrame([row | dict(zip(columns, values, strict=True)) for row, values in rows])


@pytest.fixture
def found() -> Tables:
    sizes = {"train": 70, "validation": 10, "test": 20, "test_groups": 10, "seconds": 90.0}
    done = {**PLACED, **sizes, "state": "finished", "run": "a", "error": "", "data": "ours"}
    trainings = pd.DataFrame(
        [
            {**done, "arm": "one", "own_network": True, "network": "resnet50"},
            {**done, "arm": "two", "own_network": False, "network": "tiny"},
        ]
    )
    metrics = pd.DataFrame(
        [
            {**PLACED, "arm": arm, "level": "sample", "metric": metric, "value": value, "low": low}
            for arm, metric, value, low in (
                ("one", "accuracy", 0.8, 0.7),
                ("one", "auc", 0.85, 0.75),
                ("one", "sensitivity_F4", 0.6, 0.5),
                ("one", "specificity_F4", 0.9, 0.8),
                ("two", "accuracy", 0.7, 0.6),
                ("two", "auc", 0.8, 0.7),
            )
        ]
    ).assign(high=0.95, baseline=0.5)
    validation = metrics[:1].assign(level="validation", value=0.9)
    metrics = pd.concat([metrics, validation], ignore_index=True)
    baselines = pd.DataFrame(
        [
            {**PLACED, "baseline": "majority", "value": 0.5, "low": 0.3, "high": 0.7},
            {**PLACED, "baseline": "metadata", "value": 0.65, "low": 0.5, "high": 0.8},
        ]
    )
    finding = {"verdict": "warning", "severity": "warning", "key": "k", "sentence": "Few."}
    history = pd.DataFrame(
        [{**PLACED, "arm": arm, "epoch": epoch, "train/loss": 1 / (epoch + 1), "val/loss": 1.2 / (epoch + 1)}
         for arm in ("one", "two") for epoch in range(3)]
    )  # fmt: skip
    counts = {("F0-F3", "F0-F3"): 2, ("F4", "F4"): 3}
    confusion = pd.DataFrame(
        [{**PLACED, "arm": "one", "true": t, "predicted": p, "n": n} for (t, p), n in counts.items()]
    )
    return {
        "trainings": trainings,
        "metrics": metrics,
        "comparisons": compared(),
        "baselines": baselines,
        "audit": pd.DataFrame([{**PLACED, **finding}]),
        "history": history,
        "confusion": confusion,
        "cohort": pd.DataFrame(columns=results.COLUMNS["cohort"]),
        "pictures": pd.DataFrame(columns=results.COLUMNS["pictures"]),
    }


def said(study: Study, found: Tables) -> str:
    return " ".join(verdict.sentences(study, "small", found))


def test_arms_with_fewer_seeds_than_others_are_named(study: Study, found: Tables) -> None:
    trained = found["trainings"]
    again = trained[trained["arm"] == "one"].assign(seed=1)
    (part,) = parts(study, "small", {**found, "trainings": pd.concat([trained, again])})
    assert "groups of ours, 2 seeds; Two: 1, 95 % intervals" in result_sheets.arms(part).caption


def test_a_published_number_stands_beside_the_papers_own_network_only(study: Study, found: Tables) -> None:
    (part,) = parts(study, "small", found)
    sheet = result_sheets.arms(part)
    assert [column.title for column in sheet.columns] == [
        "Arm",
        "Network",
        "Accuracy",
        "AUC",
        "Accuracy, published",
    ]
    lines = {line.cells[0].text: [cell.text for cell in line.cells[1:]] for line in sheet.lines}
    assert lines["One"] == ["resnet50", "80.0\u00a0%", ".850", "90.0\u00a0%"]
    assert lines["Two"][-1] == ""
    assert lines["metadata"][:2] == ["none", "65.0\u00a0%"]
    assert "20 test images of 10 independent groups of ours, 1 seed" in sheet.caption
    pairs = [[cell.text for cell in line.cells[:2]] for line in result_sheets.differences(part).lines]
    assert pairs == [
        ["Two \u2212 One", "Accuracy"],
        ["Two \u2212 One", "AUC"],
    ]  # those of single folds are apart
    (line,) = result_sheets.beside_markers(part).lines
    assert [cell.text for cell in line.cells[:2]] == ["Two \u2212 LSM [kPa]", "AUC"]
    assert shown(published_sheets.apart(study, found)) == [
        ["Two", "F4", "95.0\u00a0% [93.0, 97.0]", "", "Table 1"],
        ["FIB-4", "F4", "", ".750", "Table 3"],
    ]
    (first, *_) = result_sheets.seen(part).lines
    assert [cell.text for cell in first.cells] == ["One", "Accuracy", "90.0\u00a0%", "80.0\u00a0%", ""]
    assert shown(result_sheets.confusion(part)) == [["One", "F0-F3", "2", "0"], ["One", "F4", "0", "3"]]
    classes = result_sheets.classes(part).lines
    assert [[cell.text for cell in line.cells][:4] for line in classes] == [
        ["One", "F4", "60.0\u00a0%", "90.0\u00a0%"]
    ]


def shown(sheet: Sheet) -> list[list[str]]:
    return [[cell.text for cell in line.cells] for line in sheet.lines]


def test_a_published_measure_stands_beside_the_one_of_ours_that_it_is(study: Study, found: Tables) -> None:
    place = study.folder / "study.yaml"
    place.write_text(place.read_text() + "published_as: {accuracy: auc}\n")
    (part,) = parts(definition.read(str(study.folder), study.folder), "small", found)
    sheet = result_sheets.arms(part)
    assert [column.title for column in sheet.columns][-1] == "AUC, published"
    assert shown(sheet)[0][-1] == ".900"


def test_every_published_number_of_the_same_network_stands_beside_ours(study: Study, found: Tables) -> None:
    training = found["metrics"][:1].assign(level="training", value=0.97)
    found["metrics"] = pd.concat([found["metrics"], training], ignore_index=True)
    (part,) = parts(study, "small", found)
    assert shown(published_sheets.reported(part)) == [
        ["One", "test", "", "Accuracy", "80.0\u00a0%", "90.0\u00a0%", "\u221210.0\u00a0%"],
        ["One", "train", "", "Accuracy", "97.0\u00a0%", "99.0\u00a0%", "\u22122.0\u00a0%"],
        ["One", "test", "F4", "Sensitivity", "60.0\u00a0%", "80.0\u00a0%", "\u221220.0\u00a0%"],
        ["One", "test", "", "Specificity", "90.0\u00a0%", "70.0\u00a0%", "20.0\u00a0%"],  # of F4
    ]
    whole = published_sheets.apart(study, found, whole=True)
    assert shown(whole) == [
        ["Two", "F4", "test", "", "95.0\u00a0% [93.0, 97.0]", "", "", "Table 1"],
        ["Two", "F4", "train", "", "", "80.0\u00a0%", "", "Table 2"],
        ["FIB-4", "F4", "test", "", "", "", ".750", "Table 3"],
    ]


def test_classes_have_the_measures_that_papers_print(study: Study, found: Tables) -> None:
    (part,) = parts(study, "small", found)
    titles = [column.title for column in result_sheets.classes(part).columns][2:]
    assert titles == ["Sensitivity", "Specificity", "Precision", "NPV", "LR+", "LR\u2212"]
    areas = found["metrics"][:1].assign(metric="auc_F4", value=0.8)
    found["metrics"] = pd.concat([found["metrics"], areas], ignore_index=True)
    found["metrics"]["p_chance"] = 0.012
    (part,) = parts(study, "small", found)
    titles = [column.title for column in result_sheets.classes(part).columns][4:]
    assert titles == ["Precision", "F1", "AUC", "p, against chance"]
    assert shown(result_sheets.classes(part))[0][-2:] == [".800", ".01"]


def test_the_mean_over_resamples_and_an_analysis_of_variance_are_printed(study: Study, found: Tables) -> None:
    found["metrics"]["mean"], found["metrics"]["sd"] = 0.81, 0.03
    anova = {**PLACED, "level": "sample", "family": "anova", "metric": "F", "of": "models", "note": "Why."}
    anova |= {"value": 0.91, "method": "one-way ANOVA, F(2, 12)", "p": 0.43, "against": "", "fold": ""}
    found["comparisons"] = pd.concat([found["comparisons"], pd.DataFrame([anova])], ignore_index=True)
    (part,) = parts(study, "small", found)
    assert shown(result_sheets.seen(part))[0][-1] == "81.0\u00a0% ± 3.0\u00a0%"
    assert shown(result_sheets.variance(part)) == [["between models", "2, 12", "0.91", ".43"]]


def test_folds_of_a_single_arm_have_a_table_with_mean_and_sd(study: Study, found: Tables) -> None:
    (part,) = parts(study, "small", found)
    assert not result_sheets.folds(part).lines
    own = pd.DataFrame(
        [
            ("accuracy", "", 0, 0.8, None, 30), ("accuracy", "", 1, 0.9, None, 30),
            ("accuracy", "", None, 0.85, 0.05, 2), ("auc", "ge_F2", 0, 0.7, None, 30),
            ("sensitivity_F4", None, 0, 0.5, None, 30), ("sensitivity_F4", None, 1, 0.6, None, 30),
            ("sensitivity_F4", None, None, 0.55, 0.07, 2),
        ],
        columns=["metric", "of", "fold", "value", "sd", "n"],
    ).assign(low=None, high=None)  # fmt: skip
    rows = results._by_fold(own).assign(**PLACED, arm="one")
    assert rows["metric"].tolist()[3] == "auc_ge_F2"
    found["metrics"] = pd.concat([found["metrics"], rows], ignore_index=True)
    results.write(study.home / "results", found)
    (part,) = parts(study, "small", results.read(study.home / "results"))
    sheet = result_sheets.folds(part)
    assert [column.title for column in sheet.columns][2:] == ["Fold 0", "Fold 1", "Mean ± SD"]
    assert shown(sheet) == [
        ["One", "Accuracy", "80.0\u00a0%", "90.0\u00a0%", "85.0\u00a0% ± 5.0\u00a0%"],
        ["One", "Sensitivity, F4", "50.0\u00a0%", "60.0\u00a0%", "55.0\u00a0% ± 7.0\u00a0%"],
    ]
    assert shown(result_sheets.arms(part))[0][2] == "80.0\u00a0%"  # that of the pooled test samples stays


def test_markers_and_balancing_have_tables(study: Study, found: Tables) -> None:
    measured = pd.DataFrame(
        [
            ("fib4", "", None, "auc", 0.7), ("fib4", "fitted", 2.1, "accuracy", 0.65),
            ("fib4", "fitted", 2.1, "f1", 0.6), ("run", "fitted", 0.4, "f1", 0.9),
        ],
        columns=["marker", "rule", "cutoff", "metric", "value"],
    ).assign(endpoint="F4", low=0.5, high=0.8)  # fmt: skip
    for arm in ("one", "two"):
        rows = results._of_markers(measured).assign(**PLACED, arm=arm)
        found["metrics"] = pd.concat([found["metrics"], rows], ignore_index=True)
    found["trainings"][results.TRAINED] = "F0-F3 50, F4 20"
    found["trainings"][results.DRAWN] = ["F0-F3 35, F4 35", ""]
    results.write(study.home / "results", found)
    (part,) = parts(study, "small", results.read(study.home / "results"))
    (line,) = shown(result_sheets.markers(part))
    assert line == ["FIB-4", "F4", "2.100, fitted", ".700", "65.0\u00a0%", "", "", "", ".600", ".750"]
    assert shown(result_sheets.balance(part)) == [["One", "F0-F3 50, F4 20", "F0-F3 35, F4 35"]]


def test_the_cohort_stands_beside_that_of_the_paper(study: Study, found: Tables) -> None:
    path = study.folder / results.PUBLISHED_FILE
    path.write_text(path.read_text() + ",cohort,train,,albumin_g_l,42,39,45,Table 1\n")
    row = {**PLACED, "arm": "one", "variable": "albumin_g_l", "statistic": "median (IQR)", "p": 0.09}
    row |= {"train": "41 (38 to 44)", "validation": "40 (38 to 43)", "test": "43 (40 to 47)"}
    found["cohort"] = pd.DataFrame([row, row | {"seed": 1, "train": "other"}])
    (part,) = parts(study, "small", found)
    sheet = result_sheets.cohort(part)
    assert [column.title for column in sheet.columns][-1] == "Train, published"
    assert shown(sheet) == [
        ["Albumin g l", "41 (38 to 44)", "40 (38 to 43)", "43 (40 to 47)", ".09", "42 (39 to 45)"]
    ]


def test_the_verdict_follows_from_the_numbers(study: Study, found: Tables) -> None:
    assert "One, the best arm, has an accuracy of 80.0\u00a0%, above the best baseline (metadata" in said(
        study, found
    )
    assert "1 of 1 pairs of arms differ in some measure (Two and One)" in said(study, found)
    assert "no arm's AUC can be distinguished from that of a clinical marker (LSM [kPa])" in said(
        study, found
    )
    found["comparisons"].loc[found["comparisons"]["family"] == COMPARATORS, "p_holm"] = 0.03
    assert "1 of 1 pairs of an arm and a clinical marker differ in AUC (Two below LSM [kPa])" in said(
        study, found
    )
    other = found["comparisons"][found["comparisons"]["family"] == COMPARATORS].assign(of="F3-F4", value=0.1)
    found["comparisons"] = pd.concat([found["comparisons"], other], ignore_index=True)
    (part,) = parts(study, "small", found)
    assert [line.cells[1].text for line in result_sheets.beside_markers(part).lines] == [
        "AUC, F4",
        "AUC, F3-F4",
    ]
    assert "(Two below LSM [kPa], F4; Two above LSM [kPa], F3-F4)" in said(study, found)
    found["baselines"].loc[1, "value"] = 0.75
    assert "but its interval includes it" in said(study, found)
    found["baselines"].loc[1, "value"] = 0.85
    assert "no arm exceeds the best baseline, which needs no network (metadata" in said(study, found)
    found["comparisons"]["p_holm"] = 0.2
    assert "no two arms can be distinguished" in said(study, found)
    found["comparisons"]["p_holm"] = float("nan")
    assert "could not be tested" in said(study, found)


def test_an_arm_that_did_not_finish_is_a_hole_with_its_reason(study: Study, found: Tables) -> None:
    found["trainings"].loc[1, ["state", "error", "network"]] = ["failed", "out of memory", ""]
    (part,) = parts(study, "small", found)
    assert "| Two | did not finish: out of memory |  |  |  |" in "\n".join(
        readme.markdown(result_sheets.arms(part))
    )


def test_results_are_read_back_as_they_were_written(study: Study, found: Tables, tmp_path: Path) -> None:
    results.write(tmp_path / "results", found)
    again = results.read(tmp_path / "results")
    assert readme.section(study, "small", again) == readme.section(study, "small", found)
    (tmp_path / "results" / "metrics.csv").unlink()
    with pytest.raises(ConfigError, match="has no results: run the study first"):
        results.read(tmp_path / "results")
    (tmp_path / "results" / "metrics.csv").write_text("protocol,arm\n")
    with pytest.raises(DataError, match=r"metrics\.csv lacks the columns baseline, .*: run the study again"):
        results.read(tmp_path / "results")
    (tmp_path / "results" / "metrics.csv").write_bytes(b'a,b\n"1')
    with pytest.raises(DataError, match=r"metrics\.csv is damaged"):
        results.read(tmp_path / "results")


def test_the_readme_keeps_the_text_around_its_tables(study: Study, found: Tables) -> None:
    place = study.home / "README.md"
    place.write_text("# Ours\n\nA claim.\n")
    readme.write(study, "small", found)
    place.write_text(place.read_text() + "\nThe end.\n")
    before = place.read_text()
    assert before.startswith("# Ours\n\nA claim.\n\n<!-- results: small -->")
    found["metrics"].loc[0, "value"] = 0.81
    readme.write(study, "small", found)
    after = place.read_text()
    assert after == before.replace("80.0\u00a0%", "81.0\u00a0%")
    readme.write(study, "smoke", found)
    assert place.read_text().count("**Verdict.**") == 2


def test_the_page_has_tables_figures_and_audit(study: Study, found: Tables, tmp_path: Path) -> None:
    made = page.write(study, "small", found, tmp_path / "out")
    text = made.read_text()
    assert "study of A paper" in text
    assert text.count("data:image/png;base64") == 2
    assert "Audit of the data: warning" in text
    assert "Few." in text
    written = {path.name for path in (tmp_path / "out" / "tables").iterdir()}
    assert "published_numbers_of_other_networks.tex" in written
    assert len([name for name in written if name.endswith(".tex")]) == 8


def test_several_protocols_are_drawn_together(study: Study, found: Tables, tmp_path: Path) -> None:
    assert result_sheets.accuracies(parts(study, "small", found)) is None  # of one protocol
    several = replace(
        study, protocols=study.protocols | {"leaky": replace(study.protocols["audited"], label="images")}
    )
    for name in ("trainings", "metrics", "baselines", "comparisons"):
        found[name] = pd.concat([found[name], found[name].assign(protocol="leaky")], ignore_index=True)
    table = result_sheets.accuracies(parts(several, "small", found))
    assert table is not None
    one, *_ = table.groupby("part", sort=False)
    assert one[1]["name"].tolist() == ["One", "Two", "majority class", "metadata"]
    assert one[1]["value"].tolist() == [0.8, 0.7, 0.5, 0.65]
    assert one[1]["network"].tolist() == [True, True, False, False]
    shown = page.write(several, "small", found, tmp_path / "out").read_text()
    assert shown.count("data:image/png;base64") == 4
    assert "![protocols](results/small/figures/protocols.svg)" in readme.section(several, "small", found)


def test_pictures_are_shown_again_as_long_as_their_files_are_there(
    study: Study, found: Tables, tmp_path: Path
) -> None:
    folder = tmp_path / "results" / "small"
    row = {"protocol": "audited", "task": "F4", "caption": "Maps of both arms."}
    found["pictures"] = pd.DataFrame([{**row, "file": "a.webp"}, {**row, "file": "lost.webp"}])
    results.write(folder, found)
    (folder / "figures").mkdir()
    Image.new("L", (200, 100)).save(folder / "figures" / "a.webp")
    tables = results.read(folder)
    text = readme.write(study, "small", tables).read_text()
    assert "![a](results/small/figures/a.webp)\n\n*Maps of both arms.*" in text
    assert "lost" not in text
    shown = page.write(study, "small", tables, folder).read_text()
    assert shown.count("data:image/webp;base64") == 1
    assert "<figcaption>Maps of both arms.</figcaption>" in shown
    assert (folder / "figures" / "a.webp").is_file()
    (folder / "pictures.csv").unlink()  # as in results from before there were pictures
    assert results.read(folder)["pictures"].empty


def test_a_published_number_of_an_unknown_arm_is_refused(study: Study) -> None:
    path = study.folder / results.PUBLISHED_FILE
    path.write_text(path.read_text() + "three,F4,test,,accuracy,0.9,,,Table 1\nlsm,F4,test,,auc,0.9,,,T\n")
    with pytest.raises(ConfigError, match=r"published\.csv, line 9: arm: there is no 'three'"):
        results.published(study)


def test_learning_curves_have_a_row_for_each_measured_quantity(found: Tables) -> None:
    history = found["history"]
    assert [axes.get_title("left") for axes in curves(history).axes] == [
        "Loss of training",
        "Loss of validation",
    ]
    both = history.assign(**{"train/accuracy": 0.5 + history["epoch"] / 10, "val/accuracy": 0.4})
    axes = curves(both).axes[2]
    assert axes.get_title("left") == "Accuracy of training"
    assert [list(line.get_ydata()) for line in axes.lines] == [pytest.approx([0.5, 0.6, 0.7])] * 2


def test_the_titles_of_many_panels_of_differences_stay_inside_the_figure() -> None:
    metrics = ["accuracy", "macro_auc", "macro_precision", "macro_sensitivity", "agreement_with_maps_iou"]
    table = pd.DataFrame({"metric": metrics, "pair": "two − one", "value": 0.1, "low": 0.0, "high": 0.2})
    figure = differences(table.assign(found=False))
    FigureCanvasAgg(figure).draw()
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert len(shown) == len(metrics)
    titles = [axes.title.get_window_extent() for axes in shown]
    assert max(box.x1 for box in titles) <= figure.bbox.x1
    for left, right in pairwise(titles):
        assert left.x1 < right.x0 or right.x0 < left.x0  # the next row


COMMITTED = sorted(path.parent for path in (ROOT / "experiments").glob("*/results/*/trainings.csv"))


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda path: f"{path.parents[1].name}-{path.name}")
def test_the_readme_of_a_study_is_that_of_its_results(folder: Path) -> None:
    study = definition.read(folder.parents[1].name, ROOT)
    text = (study.folder / "README.md").read_text(encoding="utf-8")
    assert readme.section(study, folder.name, results.read(folder)) in text
    assert {path.stem for path in folder.glob("*.csv")} | {*results.OPTIONAL} == set(NAMES)
    assert all(path.stat().st_size < 200_000 for path in folder.glob("figures/*.webp"))
    assert set(PLACE) <= set(results.read(folder)["trainings"])
    assert not re.search(r"/(work|tmp|home)/", text)


def test_the_findings_of_our_own_study_are_numbers_of_its_tables() -> None:
    text = (ROOT / "experiments" / "honest_kaggle" / "README.md").read_text(encoding="utf-8")
    written, _, tables = text.replace("\u00a0", " ").partition("<!-- results: small -->")
    findings = written.partition("**What was found**")[2].partition("**What follows.**")[0]
    stated = re.findall(r"(?<![\w.])\d*\.\d\d*(?: %)?(?: \[[^\]]+\])?", findings)
    numbers = [each for each in stated if each.strip(" %") != ".5"]  # AUC of chance
    assert len(numbers) > 20
    assert [each for each in numbers if each.removesuffix(" %") not in tables] == []
