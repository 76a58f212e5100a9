"""`python -m fibrolab.compare` on fabricated runs: comparisons, refusals and the files of the new run."""

import re
import subprocess
import sys
from itertools import pairwise
from types import SimpleNamespace

import commanded
import numpy as np
import pandas as pd
import pytest
from chromium import chromium, visit
from drawn import unrendered
from fake_arms import of_test, predictions_of
from fake_compared import QUICK, compare, folds_of, leave, named, table_of
from mlflow.tracking import MlflowClient
from omegaconf import OmegaConf
from sklearn.metrics import accuracy_score

from fibrolab import keys
from fibrolab.analyses.comparison_sides import side
from fibrolab.errors import ConfigError, FibrolabError
from fibrolab.evaluation import predictions
from fibrolab.reporting.comparison_page import PAGE_FILE
from fibrolab.tracking import track

ALONE = "Each arm is one training: p refers to these trained networks"


def test_a_comparison_writes_a_page_a_table_figures_and_files_for_a_paper(tmp_path, place, capsys):
    frames = [predictions_of(1.0, 0, per_patient=2), predictions_of(3.0, 1, per_patient=2)]
    ids = [leave(place, frame, model) for frame, model in zip(frames, ("resnet", "hybrid"), strict=True)]
    folder = compare(tmp_path, ids, "name=one against other", rendered=True)
    table = table_of(folder)
    assert list(table["level"].unique()) == ["patient", "sample"]
    row = table[(table["level"] == "sample") & (table["metric"] == "accuracy") & (table["arm"] == "hybrid")]
    rows = of_test(frames[1])
    accuracy = accuracy_score(rows[keys.Y_TRUE], predictions.probabilities(rows).argmax(axis=1))
    assert row[row["against"] == ""]["value"].item() == pytest.approx(accuracy)
    for name in ("differences.png", "differences.svg", "roc_of_arms.png"):
        assert (folder / keys.FIGURES / name).stat().st_size > 1000
    assert (folder / "tables" / "main_measures_by_patient.csv").is_file()
    assert "toprule" in (folder / "tables" / "differences_main_measures_by_patient.tex").read_text()
    run = MlflowClient(place["uri"]).get_run(folder.parent.name)
    assert (run.info.run_name, run.info.status) == ("one against other", "FINISHED")
    assert run.data.tags["mlflow.source.name"] == "fibrolab.compare"
    assert run.data.tags["fibrolab.compared"] == ",".join(ids)
    assert "accuracy/hybrid minus resnet" in run.data.metrics
    printed = capsys.readouterr().out
    assert "Accuracy: hybrid was better than resnet (difference +" in printed
    assert str(folder / PAGE_FILE) in printed


def test_runs_of_one_test_set_are_trainings_of_an_arm(tmp_path, place):
    ids = [leave(place, predictions_of(1.0, seed)) for seed in range(4)]
    folder = compare(tmp_path, named(old=ids[:3], new=ids[3:]))
    table = table_of(folder)
    alone = table[(table["metric"] == "accuracy") & (table["against"] == "")].set_index("arm")
    assert np.isfinite(alone.loc["old", "sd"])
    assert np.isnan(alone.loc["new", "sd"])
    page = (folder / PAGE_FILE).read_text()
    assert "3 trainings" in page
    assert ALONE not in page


def test_runs_without_a_name_go_by_their_model_or_by_their_id(tmp_path, place):
    ids = [leave(place, predictions_of(1.0, seed), "resnet") for seed in range(2)]
    folder = compare(tmp_path, ids)
    assert set(table_of(folder)["arm"].dropna()) == {f"resnet {run[:6]}" for run in ids}
    assert ALONE in (folder / PAGE_FILE).read_text()


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ([{"optimizer": {"lr": 0.003}}, {"optimizer": {"lr": 0.01}}], {"lr 0.003", "lr 0.01"}),
        (
            [{"loss": {"name": "corn", "scale": 2}}, {"loss": {"name": "cross_entropy", "smoothing": 0.1}}],
            {"loss corn", "loss cross_entropy"},
        ),
        (
            [{"batch_size": 8, "seed": 1}, {"batch_size": 16, "seed": 2}],
            {"batch size 8, seed 1", "batch size 16, seed 2"},
        ),
        ([{"published": {"accuracy": 0.9}}, {"published": {}}], None),
        ([{"batch_size": 8, "seed": 1, "x": 1}, {"batch_size": 16, "seed": 2, "x": 2}], None),
        ([{"optimizer": {"lr": "a schedule of many words"}}, {"optimizer": {"lr": 0.01}}], None),
    ],
)
def test_runs_of_one_model_go_by_the_few_settings_that_differ(tmp_path, place, changes, names):
    ids = [leave(place, predictions_of(1.0, k), **changed) for k, changed in enumerate(changes)]
    folder = compare(tmp_path, ids)
    assert set(table_of(folder)["arm"].dropna()) == (names or {f"resnet {run[:6]}" for run in ids})
    assert "published" not in (folder / PAGE_FILE).read_text()


def test_folds_are_one_arm_that_predicts_every_sample_once(tmp_path, place):
    arms = {name: folds_of(place, skill, model=name) for name, skill in (("old", 1.0), ("new", 2.0))}
    arms["new"].reverse()
    table = table_of(compare(tmp_path, named(**arms)))
    by_fold = table[(table["family"] == "folds") & (table["against"] == "")]
    assert set(by_fold.loc[by_fold["fold"].isna(), "n"]) == {60}
    assert {"accuracy", "qwk", "auc"} <= set(by_fold["metric"])
    assert set(table.loc[table["family"] == "headline", "n"]) == {60}
    tests = table[(table["family"] == "folds") & table["p"].notna()]
    assert tests["method"].str.contains("corrected resampled t").all()


def test_stiffness_of_the_manifest_is_one_more_arm_of_the_end_points(tmp_path, place):
    ids = [
        leave(place, predictions_of(1.0, k), model, stiffness=True) for k, model in enumerate(("old", "new"))
    ]
    table = table_of(compare(tmp_path, ids))
    lsm = table[(table["arm"] == "LSM [kPa]") & (table["of"] == "ge_F2")]
    assert lsm["value"].item() == 1.0  # made up to follow the stage
    assert set(table.loc[table["against"] == "LSM [kPa]", "arm"]) == {"old", "new"}


def test_a_marker_from_which_the_label_was_made_is_called_circular(tmp_path, place):
    data = {"name": "table", "label_from": "lsm_kpa"}
    ids = [
        leave(place, predictions_of(1.0, k), model, stiffness=True, data=data)
        for k, model in enumerate(("old", "new"))
    ]
    arms = set(table_of(compare(tmp_path, ids))["arm"])
    assert "LSM [kPa] (circular)" in arms
    assert "LSM [kPa]" not in arms


def test_two_cohorts_are_compared_only_with_paired_false(tmp_path, place):
    frames = [predictions_of(1.0, 0, cohort=1), predictions_of(1.0, 1, n=90, cohort=2)]
    ids = [leave(place, frame, name, name) for frame, name in zip(frames, ("here", "there"), strict=True)]
    with pytest.raises(ConfigError, match=r"(?s)another manifest .*paired=false"):
        compare(tmp_path, ids)
    folder = compare(tmp_path, ids, "paired=false")
    assert "unpaired DeLong" in set(table_of(folder)["method"])
    assert "The cohorts are different" in (folder / PAGE_FILE).read_text()


def test_a_failed_audit_is_in_red_before_all_numbers(tmp_path, place, capsys):
    ids = [
        leave(place, predictions_of(1.0, k), model, verdict=v)
        for k, (model, v) in enumerate((("a", "ok"), ("b", "fail")))
    ]
    folder = compare(tmp_path, ids)
    page = (folder / PAGE_FILE).read_text()
    assert 'class="judgement fail"' in page
    assert page.index("this comparison is not valid evidence") < page.index('id="verdict"')
    assert "9 test images leak." in page
    assert "this comparison is not valid evidence" in capsys.readouterr().out


def faulty(place, fault):
    """Runs that cannot be compared, and words of the message that refuses them."""
    first = leave(place, predictions_of(1.0, 0))
    if fault == "alone":
        return [first], "names 1 arms with runs"
    if fault == "twice":
        return [first, first], f"Run {first} is named 2 times"
    if fault == "unknown":
        return [first, "0123"], "no run 0123"
    if fault == "empty":
        return named(a=[first], b=[]), "names 1 arms with runs"
    if fault == "classes":
        frame = predictions_of(1.0, 1, classes=("no", "yes"))
        return [first, leave(place, frame, classes=("no", "yes"))], "has the classes no, yes"
    if fault == "samples":
        frame = predictions_of(1.0, 1).drop(index=[130, 131])
        return [
            first,
            leave(place, frame, "other"),
        ], "predicts 0 test samples that resnet does not, and lacks 2"
    if fault == "labels":
        frame = predictions_of(1.0, 1)
        frame.loc[130, keys.Y_TRUE] = (frame.loc[130, keys.Y_TRUE] + 1) % 5
        return [first, leave(place, frame, "other")], "1 test samples have another label or group"
    if fault == "untested":
        frame = predictions_of(1.0, 1).assign(partition=keys.VALIDATION)
        return [first, leave(place, frame)], "has no test predictions"
    if fault == "overlap":
        frame = predictions_of(1.0, 1).drop(index=[130])
        others = [leave(place, frame) for _ in range(2)]
        return named(a=[first, others[0]], b=others[1:]), "both test 119 samples"
    folds = {"fold missing": {"missing": [1]}, "fold twice": {"repeated": 2}}[fault]
    words = {"fold missing": "lacks fold 1 of 3", "fold twice": "both test 20 samples"}[fault]
    return named(a=folds_of(place, 1.0, **folds), b=[first]), words


@pytest.mark.parametrize(
    "fault",
    [
        "alone", "twice", "unknown", "empty", "classes", "samples", "labels", "untested", "overlap",
        "fold missing", "fold twice",
    ],
)  # fmt: skip
def test_runs_that_cannot_be_compared_are_refused_before_a_run_is_opened(tmp_path, place, fault):
    runs, words = faulty(place, fault)
    before = len(MlflowClient(place["uri"]).search_runs(["1"]))
    with pytest.raises(FibrolabError, match=re.escape(words)):
        compare(tmp_path, runs)
    assert len(MlflowClient(place["uri"]).search_runs(["1"])) == before


def test_folds_over_some_sites_may_leave_the_others_untested() -> None:
    def fold(number: int, tested: str, **split: object) -> SimpleNamespace:
        config = OmegaConf.create({"split": {"folds": 2, "fold": number, **split}})
        samples = pd.DataFrame(index=["s1", "s2", "s3"])
        return SimpleNamespace(
            run_id=str(number), tested={tested}, manifest_hash="h", config=config, samples=samples
        )

    sites = {"sites": ["ct1", "ct2"]}
    assert side("arm", [fold(0, "s1", **sites), fold(1, "s2", **sites)]).folds
    with pytest.raises(ConfigError, match="1 of 3 samples untested"):
        side("arm", [fold(0, "s1"), fold(1, "s2")])


def test_a_run_that_did_not_finish_is_refused(tmp_path, place):
    first = leave(place, predictions_of(1.0, 0))
    with pytest.raises(RuntimeError), track(**place, name="broken", tags={}) as tracked:
        raise RuntimeError
    with pytest.raises(ConfigError, match="is FAILED"):
        compare(tmp_path, [first, tracked.id])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["unit=patients"], "unit: there is no 'patients'"),
        (["unit=patient"], "no patient has several test samples"),
        (["reference=hybrd"], r"reference: there is no 'hybrd'.*Did you mean hybrid"),
        (["bootstrap.level=95"], "bootstrap.level=95"),
        (["paired=false"], "120 groups in common"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path, place, words, sentence):
    ids = [leave(place, predictions_of(1.0, k), model) for k, model in enumerate(("resnet", "hybrid"))]
    with pytest.raises(ConfigError, match=sentence):
        compare(tmp_path, ids, *words)


def test_settings_that_differ_are_a_table_and_names_are_escaped(tmp_path, place):
    ids = [
        leave(place, predictions_of(1.0, k), model, batch_size=size)
        for k, (model, size) in enumerate((("<script>alert(1)</script>", 8), ("plain", 16)))
    ]
    page = (compare(tmp_path, ids) / PAGE_FILE).read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert re.search(r"batch_size.*?8.*?16", page, re.DOTALL)
    assert "trainer.max_epochs" not in page


def test_the_page_opens_offline_without_errors_on_a_desktop_and_a_phone(tmp_path, place):
    frames = [
        predictions_of(1.0, 0, per_patient=2),
        *(predictions_of(1.6, seed, per_patient=2) for seed in (1, 2, 3)),
    ]
    ids = [leave(place, frame, "resnet", stiffness=True) for frame in frames]
    folder = compare(tmp_path, named(old=ids[:1], new=ids[1:]), rendered=True)
    with chromium() as browser:
        for width in (1280, 360):
            opened = visit(browser, folder / PAGE_FILE, width)
            assert opened.complaints == []
            assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []
            assert opened.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        sizes = opened.page.evaluate("[...document.images].map(i => [i.naturalWidth, i.alt.length])")
        assert len(sizes) == 2
        assert all(size > 100 and letters > 50 for size, letters in sizes)
        levels = opened.page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(h => +h.tagName[1])")
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        targets = "[...document.querySelectorAll('nav a')].every(a => document.querySelector(a.hash))"
        assert opened.page.evaluate(targets)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_children")
def test_the_command_compares_two_runs_that_were_trained(root):
    tiny = [
        "data.patients=60", "data.images_per_patient=2", "data.size=32", "batch_size=16", "num_workers=0",
        "trainer.max_epochs=1", "trainer.accelerator=cpu", "bootstrap.resamples=50", f"paths.root={root}",
    ]  # fmt: skip
    with unrendered():
        for seed in (0, 1):
            trained = commanded.command("train", *tiny, f"seed={seed}", "split.seed=0", f"name=seed{seed}")
            assert trained.returncode == 0, trained.stderr
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    runs = ",".join(run.info.run_id for run in client.search_runs(["1"]))
    words = [f"runs=[{runs}]", f"paths.root={root}", *QUICK]
    program = [sys.executable, "-m", "fibrolab.compare", *words]
    done = subprocess.run(program, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert "Test, by patient" in done.stdout
    assert PAGE_FILE in done.stdout
