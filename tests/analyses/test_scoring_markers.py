"""`python -m fibrolab.markers`: page, tables and run of a table without pictures, and each refusal."""

from pathlib import Path

import commanded
import numpy as np
import pandas as pd
import pytest
from chromium import chromium, visit
from compose import composed
from drawn import unrendered
from mlflow.tracking import MlflowClient
from sklearn.metrics import roc_auc_score
from small_markers import patients, staged_by, written

from fibrolab import api, keys
from fibrolab.analyses import scoring_markers
from fibrolab.errors import FibrolabError
from fibrolab.evaluation.clinical import comparators, markers
from fibrolab.reporting.markers_page import DIFFERENCES_FILE, PAGE_FILE, TABLE_FILE


def score(root: Path, table: pd.DataFrame, *words: str) -> Path:
    """Score the markers of a table within this process, and return the folder of the run."""
    path = written(table, root)
    with unrendered():
        run = scoring_markers.run(
            composed("data=table", f"data.path={path}", f"paths.root={root}", *words, name="markers")
        )
    return root / "mlruns" / "artifacts" / run / "artifacts"


def fault(root: Path, table: pd.DataFrame, *words: str) -> str:
    with pytest.raises(FibrolabError) as caught:
        score(root, table, *words)
    assert not list(root.glob("mlruns/artifacts/*"))  # refused before a run is opened
    return str(caught.value)


def areas(folder: Path) -> pd.DataFrame:
    found = pd.read_csv(folder / TABLE_FILE)
    return found[found["metric"] == "auc"].set_index(["marker", "endpoint"])


def test_the_command_scores_a_table_and_leaves_page_tables_and_run(root: Path) -> None:
    table = patients()
    path = written(table, root)
    words = ["data=table", f"data.path={path}", "task=F4", f"paths.root={root}"]
    ended = commanded.command("markers", *words)
    assert ended.returncode == 0, ended.stderr
    (page,) = root.glob(f"mlruns/artifacts/*/artifacts/{PAGE_FILE}")
    assert f"page     {page}" in ended.stdout
    assert "AUC of F4: LSM [kPa] and FIB-4 could not be distinguished (difference +" in ended.stdout
    found, positive = areas(page.parent), table[keys.LABEL] == "F4"
    for name in ("lsm", "apri", "fib4"):
        expected = roc_auc_score(positive, markers.MARKERS[name].of(table))
        assert found.loc[(name, "F4"), "value"] == pytest.approx(expected)
    assert len(pd.read_csv(page.parent / DIFFERENCES_FILE)) == 3
    assert (page.parent / keys.FIGURES / "roc_of_markers.png").stat().st_size > 1000
    assert (page.parent / "tables" / "markers_auc.tex").is_file()
    run = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db").get_run(page.parent.parent.name)
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.source.name"] == "fibrolab.markers"
    assert run.data.tags["fibrolab.circular"] == "none"
    assert run.data.metrics["auc_F4/lsm"] == pytest.approx(found.loc[("lsm", "F4"), "value"], abs=1e-4)


def test_pictures_of_a_patient_count_once(root: Path) -> None:
    table = patients(60)
    many = table.loc[table.index.repeat(3)].assign(image=[f"{k}.png" for k in range(180)])
    found = areas(score(root, many))
    assert (found["n"] == 60).all()
    once = areas(score(root, table))
    pd.testing.assert_frame_equal(found[["value", "low", "high"]], once[["value", "low", "high"]])


def test_visits_are_scored_and_intervals_count_patients(root: Path) -> None:
    first = patients(60)
    second = first.assign(lsm_kpa=first["lsm_kpa"] * 1.01)
    visits = pd.concat([first.assign(visit_id="1"), second.assign(visit_id="2")])
    folder = score(root, visits, "markers=[lsm,fib4]")
    found = areas(folder)
    assert (found["n"] == 120).all()
    assert set(found["method"]) == {"logit clustered DeLong"}
    assert set(pd.read_csv(folder / DIFFERENCES_FILE)["method"]) == {"clustered DeLong (Obuchowski)"}
    page = (folder / PAGE_FILE).read_text()
    assert "in 60 patients at 120 visits" in page
    assert "each visit is scored, and intervals count patients" in page


def test_a_circular_reference_is_named_on_the_page_in_the_output_and_in_the_run(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = score(root, staged_by(patients()))
    printed, page = capsys.readouterr().out, (folder / PAGE_FILE).read_text()
    for text in (printed, page):
        assert "LSM [kPa] is probably circular: its AUC of 1.000 for ge_F2" in text
        assert "LSM [kPa] is not compared: its reference standard is circular." in text
        assert "LSM [kPa] was better" not in text
    assert printed.count("circular") >= 3 + 2  # beside each of its three numbers
    run = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db").get_run(folder.parent.name)
    assert run.data.tags["fibrolab.circular"] == "lsm"
    assert {"auc_ge_F2/lsm circular", "auc_ge_F2/apri"} <= set(run.data.metrics)


def test_of_many_pairs_those_that_differ_are_named_and_the_others_counted(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = score(root, patients(), "markers=[lsm,fib4,bilirubin,age_years]")
    differing = int((pd.read_csv(folder / DIFFERENCES_FILE)["p_holm"] < 0.05).sum())
    printed = capsys.readouterr().out
    assert 0 < differing < 18
    assert printed.count(" was better than ") == differing
    assert f"{18 - differing} pairs of 18 could not be distinguished" in printed


def test_the_origin_of_the_label_may_be_stated(root: Path) -> None:
    folder = score(root, patients(), "data.label_from=ast_u_l", "task=F4")
    found = areas(folder)["circular"]
    assert found.to_dict() == {("lsm", "F4"): False, ("apri", "F4"): True, ("fib4", "F4"): True}
    assert "FIB-4 is circular: the label was made from ast_u_l" in (folder / PAGE_FILE).read_text()
    other = score(root, patients(), "data.label_from=lsm_kpa", "task=F4", "markers=fib4")
    assert not areas(other)["circular"].any()
    agreement = "the numbers of every marker measure agreement with it, not with histology"
    assert agreement in (other / PAGE_FILE).read_text()


def test_comparators_of_a_run_name_a_stated_origin() -> None:
    from fake_clinic import clinic

    frame, manifest = clinic()
    found = comparators.table(
        frame, manifest, ("F0", "F1", "F2", "F3", "F4"), {"ge_F2": 2}, label_from="lsm_kpa"
    )
    remarked = found["note"].str.contains("circular: the label was made from lsm_kpa")
    assert set(found.loc[remarked, "marker"]) == {"lsm"}


def test_columns_are_scored_by_name_and_markers_that_lack_a_column_are_named(root: Path) -> None:
    table = patients().drop(columns=keys.AST_ULN_U_L)
    table.loc[:29, "bilirubin"] = np.nan
    page = (score(root, table) / PAGE_FILE).read_text()
    assert "APRI is not scored: it needs ast_uln_u_l (your laboratory&#39;s upper limit of normal)" in page
    folder = score(root, table, "markers=[lsm_kpa,bilirubin,-platelets_1e9_l]", "task=F4")
    assert areas(folder)["n"].tolist() == [120, 90, 120]
    page = (folder / PAGE_FILE).read_text()
    assert "bilirubin: 30 of 120 patients lack it" in page
    assert "Platelets [10⁹/L] (low)" in page


@pytest.mark.parametrize(
    ("change", "words", "sentence"),
    [
        ({}, ["markers=[bilirubine]"], "markers: there is no 'bilirubine'"),
        ({}, ["markers=5"], "markers: there is no '5'"),
        ({}, ["markers=[-lsm]"], "LSM [kPa] rises with fibrosis by its definition"),
        ({}, ["data.label_from=histology"], "data.label_from: there is no 'histology'"),
        ({"ast_uln_u_l": ""}, ["markers=apri"], "APRI is not scored: it needs ast_uln_u_l"),
        ({"lsm_kpa": "", "ast_u_l": ""}, [], "has no marker to score: LSM [kPa] needs lsm_kpa; APRI needs"),
        ({"patient_id": "P1"}, ["markers=lsm"], "patient 'P1' has label F0 and F1 and F2 and F3 (rows 2, 3"),
        ({"label": ""}, [], "The scoring of markers needs a label for every sample"),
        ({}, ["task=nominal"], "task=nominal has no end point for the classes F0, F1, F2, F3, F4"),
        ({}, ["task=segmentation"], "task=segmentation classifies pixels"),
        ({}, ["task=lesion"], "task=lesion is made for the classes"),
    ],
)
def test_a_mistake_is_refused_with_a_sentence(
    root: Path, change: dict[str, str], words: list[str], sentence: str
) -> None:
    assert sentence in fault(root, patients(20).assign(**change), *words)


def test_classes_that_are_no_stages_have_no_published_cutoff(root: Path) -> None:
    table = patients().assign(label=lambda rows: np.where(rows["label"] > "F2", "fatty", "normal"))
    found = pd.read_csv(
        score(root, table, "data.classes=[normal,fatty]", "task=nominal", "markers=lsm") / TABLE_FILE
    )
    assert set(found["endpoint"]) == {"fatty"}
    assert "published" not in set(found["rule"].dropna())


@pytest.mark.usefixtures("blank_figures")
def test_the_synthetic_patients_are_scored_from_python(root: Path) -> None:
    found = api.markers("data.patients=60", "data.images_per_patient=1", "data.size=32", f"paths.root={root}")
    assert set(found.table["marker"]) == {"lsm", "apri", "fib4"}
    assert len(found.differences) == 9
    assert found.report._repr_html_().startswith("<iframe")


def test_a_hostile_name_is_shown_as_text(root: Path) -> None:
    name = "<script>alert(1)</script>[red]"
    table = patients(30).rename(columns={"bilirubin": name})
    path = written(table, root)
    config = composed("data=table", f"data.path={path}", f"paths.root={root}", name="markers")
    config.markers = ["lsm", name]
    with unrendered():
        run = scoring_markers.run(config)
    page = (root / "mlruns" / "artifacts" / run / "artifacts" / PAGE_FILE).read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_the_page_opens_without_a_complaint(root: Path) -> None:
    folder = score(root, staged_by(patients()))
    with chromium() as browser:
        opened = visit(browser, folder / PAGE_FILE)
        assert opened.complaints == []
        assert opened.page.locator("aside.grave").count() == 1
        assert opened.page.locator("h2").count() >= 6
        width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert opened.page.evaluate(width) == 0
