"""The command `monitor`: no alarm for pictures like validation, alarms for others, labels scored."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from chromium import chromium, visit
from compose import composed, prepared, run_folder
from drawn import unreported
from PIL import Image

from fibrolab import keys
from fibrolab.analyses import monitoring
from fibrolab.errors import ConfigError, DataError
from fibrolab.evaluation import score
from fibrolab.loading import load
from fibrolab.pipeline import run
from fibrolab.runs import TrainedRun, open_run

SMALL = ["preprocess.size=32", "trainer.max_epochs=1", "num_workers=0", "bootstrap.resamples=20"]
DATA = ["data.patients=120", "data.images_per_patient=2", "data.size=64"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, fresh_database: Path, cache: Path) -> Path:
    """The root of a database with one finished run, and of the answers to its test pictures."""
    root = prepared(tmp_path_factory.mktemp("monitored"), fresh_database, cache)
    with unreported():
        run(composed(f"paths.root={root}", *SMALL, *DATA, "split.val=0.35", "trainer.accelerator=cpu"))
    return root


@pytest.fixture(scope="module")
def trained(root: Path) -> TrainedRun:
    return open_run(run_folder(root))


@pytest.fixture(scope="module")
def answers(root: Path, trained: TrainedRun) -> Path:
    """Answers to the test pictures, in two weeks; those of the second week have other grey levels."""
    from fibrolab.analyses.predicting import predict

    samples = trained.samples
    rows = samples[samples[keys.PARTITION] == keys.TEST]
    originals, folder = load(trained.config).manifest.root, root / "pictures"
    folder.mkdir()
    table = []
    for sample, row in rows.iterrows():
        name = f"{sample}.png"
        shutil.copy(originals / row[keys.IMAGE], folder / name)
        table.append({"image": name, "patient_id": row[keys.PATIENT_ID]})
        levels = np.asarray(Image.open(folder / name).convert("L")).astype(float)
        brighter = (levels * 0.5 + 90).astype(np.uint8)  # of another device
        Image.fromarray(brighter).save(folder / f"late {name}")
        table.append({"image": f"late {name}", "patient_id": f"late {row[keys.PATIENT_ID]}"})
    pd.DataFrame(table).to_csv(folder / "table.csv", index=False)
    words = [f"run={trained.run_id}", f"input={folder / 'table.csv'}", f"folder={root / 'answers'}"]
    out = Path(predict(composed(f"paths.root={root}", *words, name="predict")))
    lines = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    for line in lines:
        line["answered"] = (
            "2026-02-05T10:00:00+00:00" if "late" in line["patient_id"] else ("2026-01-29T10:00:00+00:00")
        )
    (out / "answers.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return out


def monitored(root: Path, trained: TrainedRun, *words: str) -> Path:
    config = composed(f"paths.root={root}", f"run={trained.run_id}", *words, name="monitor")
    return Path(monitoring.monitor(config))


def test_drift_is_told_by_week_and_the_same_kind_of_pictures_raises_no_alarm(
    root: Path, trained: TrainedRun, answers: Path, tmp_path: Path
) -> None:
    folder = monitored(root, trained, f"predictions={answers}", f"folder={tmp_path}")
    table = pd.read_csv(folder / "drift.csv").set_index(["week", "quantity"])
    assert sorted(set(table.index.get_level_values("week"))) == ["2026-W05", "2026-W06", "all"]
    assert not (table.loc["2026-W05", "p_holm"] <= 0.05).any()
    assert table.loc[("2026-W06", "grey_mean"), "p_holm"] <= 0.05
    assert table.loc[("2026-W06", "typicality"), "p_holm"] <= 0.05
    assert table.loc[("2026-W06", "width"), "p"] == 1
    of_week = table.loc["2026-W06"].loc[[f"predicted: F{stage}" for stage in range(5)], "after"]
    assert of_week.sum() == pytest.approx(1)
    record = json.loads((folder / "monitoring.json").read_text())
    alarms = [each["text"] for each in record["findings"] if each["alarm"]]
    assert any(
        text.startswith("In 2026-W06 the mean grey level differs from validation: mean ") for text in alarms
    )
    assert not any("2026-W05" in text for text in alarms)


def test_labels_give_the_measures_of_the_test(
    root: Path, trained: TrainedRun, answers: Path, tmp_path: Path
) -> None:
    test = trained.predictions[trained.predictions[keys.PARTITION] == keys.TEST]
    labels = pd.DataFrame(
        {"patient_id": test[keys.PATIENT_ID], "label": [f"F{k}" for k in test[keys.Y_TRUE]]}
    )
    labels.to_csv(tmp_path / "labels.csv", index=False)
    words = (f"predictions={answers}", f"folder={tmp_path / 'out'}", f"labels={tmp_path / 'labels.csv'}")
    folder = monitored(root, trained, *words, "bootstrap.resamples=20")
    found = pd.read_csv(folder / "performance.csv").set_index(["level", "metric"])
    expected = score.score(test, trained.classes, resamples=20, seed=int(trained.config.seed))
    for metric in ("accuracy", "macro_auc"):
        assert found.loc[("sample", metric), "value"] == pytest.approx(
            expected.loc[metric, "value"], abs=1e-6
        )
        for end in ("low", "high"):
            np.testing.assert_allclose(
                found.loc[("sample", metric), end], expected.loc[metric, end], atol=0.2
            )
    record = json.loads((folder / "monitoring.json").read_text())
    assert record["findings"][0]["text"].startswith("Accuracy is ")
    assert "; in the run's test it was " in record["findings"][0]["text"]
    page = (folder / "monitoring.html").read_text()
    assert "AUC, F2 or worse" in page
    assert "Auc ge" not in page


def test_faults_are_sentences(root: Path, trained: TrainedRun, answers: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no answers: give a folder that fibrolab\.predict wrote"):
        monitored(root, trained, f"predictions={tmp_path}")
    other = tmp_path / "other"
    shutil.copytree(answers, other)
    record = json.loads((other / "prediction.json").read_text())
    (other / "prediction.json").write_text(json.dumps(record | {"run": "another"}))
    with pytest.raises(ConfigError, match="has answers of run another, not of"):
        monitored(root, trained, f"predictions=[{answers},{other}]")
    table = tmp_path / "labels.csv"
    patient = trained.samples[keys.PATIENT_ID].iloc[0]
    table.write_text(f"patient_id,label\n{patient},F0\n{patient},F3\n")
    with pytest.raises(DataError, match="has several labels for 1 ids of patient_id"):
        monitored(root, trained, f"predictions={answers}", f"labels={table}")
    table.write_text("patient_id,label\nnobody,F0\n")
    with pytest.raises(DataError, match="has a label for none of the"):
        monitored(root, trained, f"predictions={answers}", f"labels={table}")


def test_the_page_is_whole_in_a_browser(
    root: Path, trained: TrainedRun, answers: Path, tmp_path: Path
) -> None:
    folder = monitored(root, trained, f"predictions={answers}", f"folder={tmp_path}")
    with chromium() as browser:
        opened = visit(browser, folder / "monitoring.html", width=400)
        assert not opened.complaints
        assert len(opened.requests) == 1
        assert opened.page.locator("li strong", has_text="Alarm: ").count() >= 2
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= 400
