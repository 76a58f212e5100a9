"""Stacks of fabricated runs: two folds of a network, one test set, a stiffness that adds information."""

import json

import commanded
import fake_run
import fake_tracked
import numpy as np
import pandas as pd
import pytest
from compose import composed
from fake_compared import compare, named, table_of
from mlflow.tracking import MlflowClient
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from fibrolab import keys
from fibrolab.analyses import evaluating, regression, stacking
from fibrolab.errors import ConfigError, DataError, FibrolabError
from fibrolab.evaluation import predictions
from fibrolab.evaluation.patients import PATIENTS_FILE

pytestmark = pytest.mark.usefixtures("blank_figures")
BINARY, STAGES = ("F0-F1", "F2-F4"), ("F0", "F1", "F2", "F3", "F4")
PATIENTS, TESTED, FOLDS = 40, 10, 2


def clinic(classes=BINARY):
    """A manifest of two images a patient, whose stiffness follows the class."""
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(PATIENTS), 2)
    label = np.arange(PATIENTS)[owner] % len(classes)
    lsm = np.exp(1.5 + 0.5 * label + rng.normal(0, 0.5, PATIENTS)[owner])
    names = [f"p{i:02}" for i in owner]
    ids = [f"{name}_{i % 2}" for i, name in enumerate(names)]
    return pd.DataFrame(
        {
            "sample_id": ids,
            "group_id": names,
            "patient_id": names,
            "site": "",
            "label": label,
            "lsm_kpa": lsm,
            "y_true": label,
        }
    )


def predicted(table, partition, fold, classes, seed):
    """Predictions of the samples by a network of little skill."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(len(table), len(classes)))
    scores[np.arange(len(table)), table["y_true"]] += 1.0
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    columns = dict(zip(keys.probability_columns(len(classes)), probabilities.T, strict=True))
    known = table[["sample_id", "group_id", "patient_id", "site", "y_true"]]
    return known.assign(partition=partition, fold=fold, **columns)


def leave(place, classes=BINARY, fold=0, seed=0, table=None, lineage="a manifest", **changes):
    """A finished run of fold `fold`, and its id."""
    table = clinic(classes) if table is None else table
    owner = table["patient_id"].str[1:].astype(int)
    part_of = np.where(owner < TESTED, "test", np.where(owner // 2 % FOLDS == fold, "validation", "train"))
    frames = [
        predicted(table[part_of == part], part, fold, classes, seed + 10 * fold + number)
        for number, part in enumerate(("validation", "test"))
    ]
    config = fake_run.config(classes) | changes
    config["task"] = {"name": "ge_F2", "ordered": True, "endpoints": {}} | config["task"]
    samples, audit = table.assign(partition=part_of, fold=fold), fake_run.audit(classes, 40)
    return fake_tracked.leave(place, "fold", pd.concat(frames), samples, config, audit, lineage)


def stack(tmp_path, runs, *words):
    """Stack runs within this process, and return the folder of the new run."""
    config = composed(
        f"runs={runs}".replace("'", ""),
        f"paths.root={tmp_path}",
        "bootstrap.resamples=20",
        *words,
        name="stack",
    )
    stacking.run(config)
    (path,) = tmp_path.glob(f"mlruns/artifacts/*/artifacts/{stacking.STACK_FILE}")
    return path.parent


def predictions_of(tmp_path, run_id):
    return predictions.read(tmp_path / "mlruns" / "artifacts" / run_id / "artifacts" / keys.PREDICTIONS_FILE)


def expected(frames, table, columns=("lsm_kpa",)):
    """The same by scikit-learn alone: fitted on validation rows, one prediction for each test sample."""
    frames["logit"] = np.log(frames["p_1"] / frames["p_0"])
    mean = frames.groupby(["partition", "sample_id"])[["logit", "y_true"]].mean().reset_index()
    mean = mean.merge(table[["sample_id", *columns]], on="sample_id")
    features = np.column_stack([mean["logit"], *(np.log(mean[name]) for name in columns)])
    fit = (mean["partition"] == "validation").to_numpy()
    scaler = StandardScaler().fit(features[fit])
    model = LogisticRegression().fit(scaler.transform(features[fit]), mean.loc[fit, "y_true"])
    return mean.loc[~fit, "sample_id"], model.predict_proba(scaler.transform(features[~fit]))[:, 1]


def test_test_samples_are_predicted_as_by_scikit_learn_from_out_of_fold_confidences(tmp_path, place):
    runs = [leave(place, fold=fold) for fold in range(FOLDS)]
    folder = stack(tmp_path, runs, "columns=[lsm_kpa]")
    frame = predictions.select(predictions.read(folder / keys.PREDICTIONS_FILE), "test").set_index(
        "sample_id"
    )
    samples, worse = expected(pd.concat([predictions_of(tmp_path, run) for run in runs]), clinic())
    np.testing.assert_allclose(frame.loc[samples, "p_1"], worse, rtol=1e-5)


def test_a_stack_with_stiffness_beats_its_network_and_is_a_run_with_all_its_files(tmp_path, place):
    runs = [leave(place, fold=fold) for fold in range(FOLDS)]
    folder = stack(tmp_path, runs, "columns=[lsm_kpa]", "name=GM+LSM")
    frame = predictions.read(folder / keys.PREDICTIONS_FILE)
    fitted_on = predictions.select(frame, "validation")
    alone = predictions.select(predictions_of(tmp_path, runs[0]), "test")
    tested = predictions.select(frame, "test")
    assert roc_auc_score(tested["y_true"], tested["p_1"]) > roc_auc_score(alone["y_true"], alone["p_1"])
    assert len(fitted_on) == 2 * (PATIENTS - TESTED)
    for name in (keys.METRICS_FILE, PATIENTS_FILE, keys.REPORT_FILE, keys.MANIFEST_FILE, keys.AUDIT_FILE):
        assert (folder / name).is_file()
    split = pd.read_csv(folder / keys.SPLIT_FILE)
    assert split["partition"].value_counts().to_dict() == {"train": 60, "test": 20}
    client = MlflowClient(place["uri"])
    run = client.get_run(folder.parent.name)
    assert run.data.tags["model"] == "network+lsm_kpa"
    assert run.data.tags["mlflow.source.name"] == "fibrolab.stack"
    assert run.info.run_name == "GM+LSM"
    assert run.info.status == "FINISHED"
    assert {"test/auc", "test/patient_auc", "test/accuracy"} <= set(run.data.metrics)
    alone_at = json.loads((folder / stacking.STACK_FILE).read_text())["alone"]
    labels = tested["y_true"]
    network = roc_auc_score(labels, -mean_logits(tmp_path, runs, tested["sample_id"]))
    assert alone_at["network"]["macro_auc"] == pytest.approx(1 - network)
    stiffness = clinic().set_index("sample_id").loc[tested["sample_id"], "lsm_kpa"]
    assert alone_at["lsm_kpa"]["macro_auc"] == pytest.approx(roc_auc_score(labels, stiffness))
    assert alone_at["lsm_kpa"]["macro_auc_low"] < alone_at["lsm_kpa"]["macro_auc_high"]
    assert run.data.metrics["test/macro_auc_of_lsm_kpa"] == alone_at["lsm_kpa"]["macro_auc"]


def mean_logits(root, runs, samples):
    """Mean logit of the folds for test samples."""
    frames = [predictions.select(predictions_of(root, run), "test").set_index("sample_id") for run in runs]
    logits = [np.log(frame["p_1"] / frame["p_0"]) for frame in frames]
    return np.mean([logit.loc[samples] for logit in logits], axis=0)


def test_validation_rows_are_predicted_by_regressions_fitted_without_their_patient():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(20), 3)
    labels = rng.permutation(np.arange(20) % 2)[groups]
    noise = rng.normal(size=20)[groups][:, None]  # one value a patient, independent of the class
    identity = np.eye(20)[groups]  # identifies the patient: memorised, it gives the class
    features = np.hstack([noise, identity])
    unseen = regression.cross_fitted(features, labels, groups, BINARY)
    seen = regression.fitted(features, labels).predict_proba(features)
    assert roc_auc_score(labels, seen[:, 1]) > 0.99
    assert roc_auc_score(labels, unseen[:, 1]) < 0.7


def test_a_stack_is_compared_with_its_network_and_with_another_on_the_same_patients(tmp_path, place):
    """Paper 4 holds GM+LSM against GM and against GM+EM."""
    folds = [leave(place, fold=fold) for fold in range(FOLDS)]
    stacked = stack(tmp_path, folds, "columns=[lsm_kpa]").parent.name
    arms = {"GM": [folds[0]], "GM_LSM": [stacked], "GM_EM": [leave(place, seed=7)]}
    table = table_of(compare(tmp_path, named(**arms)))
    tested = table[(table["metric"] == "auc") & (table["against"] != "")]
    pairs = set(zip(tested["arm"], tested["against"], strict=True))
    assert {frozenset(pair) for pair in pairs} >= {
        frozenset({"GM", "GM_LSM"}),
        frozenset({"GM_LSM", "GM_EM"}),
    }
    assert tested["p"].notna().all()


def test_several_arms_of_five_stages_are_stacked_side_by_side(tmp_path, place):
    arms = {
        name: [leave(place, STAGES, fold, seed) for fold in range(FOLDS)]
        for seed, name in ((0, "gm"), (9, "em"))
    }
    runs = "{" + ",".join(f"{name}:[{','.join(ids)}]" for name, ids in arms.items()) + "}"
    folder = stack(tmp_path, runs)
    known = json.loads((folder / stacking.STACK_FILE).read_text())
    assert list(known["mean"]) == [f"{arm}_{stage}" for arm in ("gm", "em") for stage in STAGES]
    assert list(known["coefficients"]) == list(STAGES)
    assert predictions.probabilities(predictions.read(folder / keys.PREDICTIONS_FILE)).shape == (80, 5)


def test_a_single_run_is_stacked_on_its_validation_part(tmp_path, place):
    folder = stack(tmp_path, leave(place), "columns=lsm_kpa")
    assert len(predictions.select(predictions.read(folder / keys.PREDICTIONS_FILE), "validation")) == 28


def test_a_value_not_measured_is_named_or_filled_with_the_median_of_the_fit(tmp_path, place):
    table = clinic().astype({"lsm_kpa": object})
    table.loc[[3, 70], "lsm_kpa"] = ""
    runs = [leave(place, fold=fold, table=table) for fold in range(FOLDS)]
    with pytest.raises(DataError, match=r"lsm_kpa: not measured in 2 samples\n.*p01_1 lacks lsm_kpa"):
        stack(tmp_path, runs, "columns=[lsm_kpa]")
    folder = stack(tmp_path, runs, "columns=[lsm_kpa]", "missing=median")
    filled = clinic()
    tested = filled["patient_id"].str[1:].astype(int) < TESTED
    known = np.log(filled.loc[~tested & (filled.index != 70), "lsm_kpa"])
    mean = json.loads((folder / stacking.STACK_FILE).read_text())["mean"]["lsm_kpa"]
    assert mean == pytest.approx((known.sum() + known.median()) / (len(known) + 1), rel=1e-5)


def test_probabilities_of_0_and_1_have_finite_confidences():
    assert np.isfinite(regression.confidences(np.array([[1.0, 0.0], [0.0, 1.0]]))).all()
    np.testing.assert_allclose(regression.confidences(np.array([[0.25, 0.75]])), [[np.log(3)]])


def faulty(place, fault):
    """Ids of runs with a fault, the error that refuses them, and its message."""
    first = leave(place)
    if fault == "missing":
        return [first, leave(place, fold=0)], DataError, r"p12_0: in the validation part of 2 runs"
    if fault == "twice":
        return [first, first], ConfigError, f"Run {first} is named 2 times"
    if fault == "manifest":
        return [first, leave(place, fold=1, lineage="another")], ConfigError, "has another manifest"
    if fault == "task":
        other = leave(place, fold=1, task={"name": "F4", "classes": ["F0-F3", "F4"]})
        return [first, other], ConfigError, "has task=F4, .* task=stage"
    if fault == "test":
        table = clinic()
        table["patient_id"] = [f"p{(int(name[1:]) + 4) % PATIENTS:02}" for name in table["patient_id"]]
        return [first, leave(place, fold=1, table=table)], ConfigError, "tests 8 samples that"
    if fault == "leak":
        table = clinic()
        table["group_id"] = "all one"
        return [leave(place, table=table)], FibrolabError, "1 groups of arm network are both"
    table = clinic()
    table["group_id"] = [
        name if label else "one" for name, label in zip(table["group_id"], table["y_true"], strict=True)
    ]
    table.loc[table["patient_id"].str[1:].astype(int) < TESTED, "group_id"] = "tested"
    return [leave(place, table=table)], DataError, r"each class needs two groups; too few: F0-F1 \(1\)"


@pytest.mark.parametrize("fault", ["missing", "twice", "manifest", "task", "test", "leak", "one group"])
def test_runs_that_do_not_fit_are_refused_before_a_run_is_opened(tmp_path, place, fault):
    runs, kind, words = faulty(place, fault)
    with pytest.raises(kind, match=words):
        stack(tmp_path, runs)
    client = MlflowClient(place["uri"])
    assert all(run.info.run_name == "fold" for run in client.search_runs(["1"]))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["runs=[]"], "names no runs"),
        (["runs=[0123]"], "no run 0123"),
        (["runs=[a]", "columns=[lsm]"], "Did you mean lsm_kpa"),
        (["runs=[a]", "missing=mean"], "missing: there is no 'mean'"),
        (["runs=[a]", "penalty=0"], "penalty=0 is not a number above 0"),
        (["runs=[a]", "penalty=0", "columns=[lsm]"], "2 settings cannot be used"),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path, place, words, sentence):
    with pytest.raises(ConfigError, match=sentence):
        stacking.run(composed(*words, f"paths.root={tmp_path}", name="stack"))


def test_the_command_leaves_a_run_that_can_be_evaluated_again(tmp_path, place):
    runs = ",".join(leave(place, fold=fold) for fold in range(FOLDS))
    words = [f"runs=[{runs}]", "columns=[lsm_kpa]", f"paths.root={tmp_path}", "bootstrap.resamples=20"]
    done = commanded.command("stack", *words)
    assert done.returncode == 0, done.stderr
    assert "Test, by patient" in done.stdout
    (path,) = tmp_path.glob(f"mlruns/artifacts/*/artifacts/{stacking.STACK_FILE}")
    before = (path.parent / keys.METRICS_FILE).read_text()
    run = f"run={path.parent.parent.name}"
    evaluating.evaluate(composed(run, f"paths.root={tmp_path}", "bootstrap.resamples=20", name="evaluate"))
    assert (path.parent / keys.METRICS_FILE).read_text() == before
