"""The command `predict`: one answer a sample as in the run's own predictions, errors by file, resuming."""

import base64
import io
import json
import re
import shutil
import tempfile
from functools import cache as cached
from html import unescape
from pathlib import Path

import dicom_case
import numpy as np
import pandas as pd
import pydicom
import pydicom.data
import pytest
from compose import composed, run_folder
from PIL import Image

from fibrolab import keys
from fibrolab.analyses import predicting
from fibrolab.data.readers import OpenFile
from fibrolab.errors import ConfigError, DataError
from fibrolab.evaluation import predictions
from fibrolab.loading import load
from fibrolab.runs import TrainedRun, answering, nearest_cases, new_input, open_run, sample_answers

SMALL = ["preprocess.size=32", "trainer.max_epochs=1", "num_workers=0", "bootstrap.resamples=20"]
CHANCES = [f"p_F{stage}" for stage in range(5)]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def root(finished: Path) -> Path:
    """The root of a database with one finished run."""
    return finished


@pytest.fixture(scope="module")
def trained(finished: Path) -> TrainedRun:
    return open_run(run_folder(finished))


@pytest.fixture
def pictures(trained: TrainedRun, tmp_path: Path) -> Path:
    """A folder with the files of the run's test samples, named by their ids."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for sample, row in rows_of_test(trained).iterrows():
        shutil.copy(originals(trained) / row[keys.IMAGE], folder / f"{sample}.png")
    return folder


@cached
def originals(trained: TrainedRun) -> Path:
    """The folder of the run's images."""
    return load(trained.config).manifest.root


def rows_of_test(trained: TrainedRun) -> pd.DataFrame:
    return trained.samples[trained.samples[keys.PARTITION] == keys.TEST]


def predicted(root: Path, trained: TrainedRun, *words: str) -> Path:
    config = composed(f"paths.root={root}", f"run={trained.run_id}", *words, name="predict")
    return Path(predicting.predict(config))


def answers(folder: Path) -> pd.DataFrame:
    text = {keys.SAMPLE_ID: str, keys.PATIENT_ID: str}
    return pd.read_csv(folder / "answers.csv", dtype=text, keep_default_na=False).set_index(keys.SAMPLE_ID)


def test_answers_are_those_of_the_run_itself(root: Path, trained: TrainedRun, pictures: Path) -> None:
    folder = predicted(root, trained, f"input={pictures}", f"folder={pictures.parent / 'out'}")
    found, own = answers(folder), trained.predictions.set_index(keys.SAMPLE_ID)
    own = own[own[keys.PARTITION] == keys.TEST].rename(index=lambda name: f"{name}.png")
    expected = predictions.probabilities(own.loc[found.index])
    np.testing.assert_allclose(found[CHANCES].astype(float), expected, atol=1e-5)
    names = np.array(trained.classes)[expected.argmax(axis=1)]
    assert found["predicted"].tolist() == names.tolist()
    for row, name in zip(found["prediction_set"], found["predicted"], strict=True):
        assert name in row.split()
    level = trained.predictor.thresholds["sample"]
    for point, lowest in (("ge_F2", 2), ("ge_F3", 3), ("ge_F4", 4)):
        score = expected[:, lowest:].sum(axis=1)
        decided = found[f"{point}_positive"].map({"True": True, "False": False, True: True, False: False})
        clear = np.abs(score - level[point]["youden"]) > 1e-4
        assert (decided[clear] == (score >= level[point]["youden"])[clear]).all()
    assert (found["copy_of"] == "").all()  # test samples are no copies of training samples
    parquet = pd.read_parquet(folder / "answers.parquet").set_index(keys.SAMPLE_ID)
    np.testing.assert_array_equal(parquet[CHANCES], found[CHANCES].astype(float))
    page = (folder / "answers.html").read_text()
    for point, rule in trained.predictor.thresholds["patient"].items():
        assert f"{point} {rule['youden']:.3g}" in page.partition("; of patients, ")[2]
    assert page.count("<figure") == len(found)
    assert "research use only" in page


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose pixels are decoded, in their order."""
    found, decode = list[Path](), OpenFile.inspect
    monkeypatch.setattr(
        OpenFile, "inspect", lambda file, *view: found.append(file.path) or decode(file, *view)
    )
    return found


def test_each_picture_is_decoded_once_for_its_answer(
    trained: TrainedRun, pictures: Path, decoded: list[Path]
) -> None:
    first, *_ = sorted(pictures.iterdir())
    shutil.copy(first, pictures / "again.png")
    networks = trained.predictors
    manifest = new_input.listed([pictures], networks[0].record, networks[0].module.inputs)
    found = sample_answers.of(manifest, trained, answering.rules(trained, 0.1)[answering.SAMPLE])
    assert sorted(decoded) == sorted(pictures.iterdir())
    found = found.set_index(keys.SAMPLE_ID)[CHANCES].astype(float)
    np.testing.assert_allclose(found.loc["again.png"], found.loc[first.name], atol=1e-6)


def test_answers_to_pictures_write_nothing_to_the_disk(
    trained: TrainedRun, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = list[str]()
    monkeypatch.setattr(tempfile, "mkdtemp", lambda *given: made.append("one"))
    networks = trained.predictors
    manifest = new_input.listed([pictures], networks[0].record, networks[0].module.inputs)
    found = sample_answers.of(manifest, trained, answering.rules(trained, 0.1)[answering.SAMPLE])
    assert len(found) == len(manifest)
    assert set(found["error"]) == {""}
    assert not made


def test_the_page_takes_the_pixels_of_the_answers_and_reads_files_of_earlier_answers(
    root: Path, trained: TrainedRun, pictures: Path, decoded: list[Path]
) -> None:
    first, second, *_ = sorted(pictures.iterdir())
    shutil.copy(first, pictures / "again.png")
    second.write_bytes(second.read_bytes()[:100])
    words, out = [f"input={pictures}", f"folder={pictures.parent / 'out'}"], pictures.parent / "out"
    with pytest.raises(DataError, match=r"1 of \d+ samples have no answer"):
        predicted(root, trained, *words)
    assert sorted(decoded) == sorted(pictures.iterdir())
    shown = (out / "answers.html").read_text().split("data:image/jpeg;base64,")[1:]
    assert len(shown) == len(decoded) - 1
    decoded.clear()
    with pytest.raises(DataError, match=r"1 of \d+ samples have no answer"):
        predicted(root, trained, *words)
    assert sorted(set(decoded)) == sorted(pictures.iterdir())
    assert decoded.count(second) == 1
    again = (out / "answers.html").read_text().split("data:image/jpeg;base64,")[1:]
    assert [each.partition('"')[0] for each in again] == [each.partition('"')[0] for each in shown]
    assert len({each.partition('"')[0] for each in shown}) == len(shown) - 1  # "again.png" is the first one


def test_maps_are_added_to_the_page_of_samples_that_have_answers(
    root: Path, trained: TrainedRun, pictures: Path
) -> None:
    words = f"input={pictures}", f"folder={pictures.parent / 'out'}"
    before = predicted(root, trained, *words)
    lines = (before / "answers.jsonl").read_bytes()
    assert "Grad-CAM" not in (before / "answers.html").read_text()
    folder = predicted(root, trained, *words, "maps=true")
    assert (folder / "answers.jsonl").read_bytes() == lines
    page = (folder / "answers.html").read_text()
    assert "They do not show where fibrosis is" in page
    for name, row in answers(folder).iterrows():
        words_of_map = f"Grad-CAM of {row['predicted']} over {name}"
        map_, picture = pixels_of(page, words_of_map), pixels_of(page, f"picture of {name}")
        assert map_.shape[:2] == picture.shape[:2]
        colours = map_.astype(int).max(axis=2) - map_.min(axis=2)
        assert colours.max() > 40  # the picture alone is grey
        assert np.ptp(picture.astype(int), axis=2).max() < 20


def pixels_of(page: str, alt: str) -> np.ndarray:
    """The pixels of the only picture of a page with an alternative text, uint8 (H, W, 3)."""
    (content,) = re.findall(rf'src="data:image/jpeg;base64,([^"]+)"[^>]*alt="{re.escape(alt)}"', page)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))


def test_no_more_pictures_are_drawn_than_the_page_shows(
    trained: TrainedRun, pictures: Path, decoded: list[Path]
) -> None:
    networks = trained.predictors
    manifest = new_input.listed([pictures], networks[0].record, networks[0].module.inputs)
    drawn = sample_answers.Drawn(np.shape, most=2)
    rules = answering.rules(trained, 0.1)[answering.SAMPLE]
    for _ in range(2):  # two parts of one prediction
        sample_answers.of(manifest, trained, rules, drawn=drawn)
    assert len(drawn.by_sample) == 2 < len(manifest)
    assert set(drawn.by_sample) <= set(manifest.table[keys.SAMPLE_ID])
    (shape,) = set(drawn.by_sample.values())
    assert shape == np.asarray(Image.open(decoded[0])).shape


def test_a_broken_file_is_an_error_line_and_a_copy_is_named(
    root: Path, trained: TrainedRun, pictures: Path
) -> None:
    first, second, *others = sorted(pictures.iterdir())
    for other in others:
        other.unlink()
    second.write_bytes(second.read_bytes()[:100])
    (pictures / "text.png").write_text("no picture")
    learnt = trained.samples[trained.samples[keys.PARTITION] == keys.TRAIN]
    shutil.copy(originals(trained) / learnt[keys.IMAGE].iloc[0], pictures / "known.png")
    out = pictures.parent / "out"
    with pytest.raises(DataError, match=r"2 of 4 samples have no answer: see the column `error`"):
        predicted(root, trained, f"input={pictures}", f"folder={out}")
    found = answers(out)
    assert "truncated or damaged" in found.loc[second.name, "error"]
    assert "is text, which is not read" in found.loc["text.png", "error"]
    assert found.loc[second.name, "predicted"] == found.loc[second.name, "p_F0"] == ""
    assert found.loc["known.png", "copy_of"] == learnt.index[0]
    assert found.loc[first.name, "predicted"].startswith("F")


def test_a_stopped_prediction_is_completed_and_a_changed_file_predicted_again(
    root: Path, trained: TrainedRun, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predicting, "PART", 3)
    out, real = pictures.parent / "out", sample_answers.of
    calls = []

    def stopped(manifest: object, **rest: object) -> pd.DataFrame:
        calls.append(manifest)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(manifest, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(sample_answers, "of", stopped)
    words = [f"input={pictures}", f"folder={out}"]
    with pytest.raises(KeyboardInterrupt):
        predicted(root, trained, *words)
    lines = (out / "answers.jsonl").read_bytes()
    assert lines.count(b"\n") == 6
    (out / "answers.jsonl").write_bytes(lines[:-40])  # half a line, as after a kill
    monkeypatch.setattr(sample_answers, "of", real)
    predicted(root, trained, *words)
    whole = answers(out)
    assert sorted(whole.index) == sorted(path.name for path in pictures.iterdir())
    kept = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    assert len(kept) == len(whole)  # none was predicted twice
    first, second = sorted(pictures.iterdir())[:2]
    shutil.copy(second, first)
    predicted(root, trained, *words)
    again, whole = (each[CHANCES].astype(float) for each in (answers(out), whole))
    np.testing.assert_allclose(again.loc[first.name], whole.loc[second.name], atol=1e-6)
    assert np.abs(whole.loc[first.name] - whole.loc[second.name]).max() > 1e-5
    with pytest.raises(ConfigError, match="answers of another run, to another input or with another"):
        predicted(root, trained, f"input={first}", f"folder={out}")
    (out / "prediction.json").unlink()
    with pytest.raises(ConfigError, match=r"has answers without their record prediction\.json"):
        predicted(root, trained, *words)


def test_patients_of_a_table_are_put_together_and_its_labels_not_read(
    root: Path,
    trained: TrainedRun,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = rows_of_test(trained).iloc[:6]
    table = pd.DataFrame(
        {
            "image": [f"{name}.png" for name in rows.index],
            "patient_id": ["007", "007", "007", "8", "8", "9"],
            "label": "unknown word",
        }
    )
    table.to_csv(pictures / "table.csv", index=False)
    out = pictures.parent / "out"
    folder = predicted(root, trained, f"input={pictures / 'table.csv'}", f"folder={out}")
    said = capsys.readouterr().out
    assert "the labels of table.csv are not used" in said
    assert "zeros in front" not in said
    table.assign(patient_id=["007", "7", "7", "8", "8", "9"]).to_csv(pictures / "ids.csv", index=False)
    again = predicted(root, trained, f"input={pictures / 'ids.csv'}", f"folder={out}3")
    assert "differ only in case, blanks or zeros in front: 007 and 7." in capsys.readouterr().out
    assert "zeros in front: 007 and 7." in (again / "answers.html").read_text()
    found = answers(folder)
    patients = pd.read_csv(folder / "patients.csv", dtype={keys.PATIENT_ID: str})
    assert patients[keys.PATIENT_ID].tolist() == ["007", "8", "9"]
    assert patients["n"].tolist() == [3, 2, 1]
    mean = found[CHANCES].iloc[:3].astype(float).mean()
    np.testing.assert_allclose(patients.loc[0, CHANCES].astype(float), mean, atol=1e-12)
    # The same files from the standard input: the same answers.
    lines = "\n".join(str(pictures / name) for name in table["image"])
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{lines}\n"))
    single = answers(predicted(root, trained, "input=-", f"folder={out}2"))
    np.testing.assert_allclose(single[CHANCES].astype(float), found[CHANCES].astype(float), atol=1e-6)


def test_input_without_what_the_network_takes_is_refused(
    root: Path, trained: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="holds no picture and no film"):
        predicted(root, trained, f"input={empty}")
    with pytest.raises(DataError, match=r"nothing\.png does not exist"):
        predicted(root, trained, f"input={tmp_path / 'nothing.png'}")
    with pytest.raises(ConfigError, match="no run"):
        predicting.predict(composed(f"paths.root={root}", "run=0", f"input={empty}", name="predict"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"pl\xe4in.png\n"), "utf-8"))
    with pytest.raises(DataError, match="A path of the standard input is not UTF-8"):
        predicted(root, trained, "input=-")


def test_dicom_files_name_their_patients(root: Path, trained: TrainedRun, pictures: Path) -> None:
    study = pictures.parent / "study"
    study.mkdir()
    for number, picture in enumerate(sorted(pictures.iterdir())[:3]):
        levels = np.asarray(Image.open(picture).convert("L"))
        scan = dicom_case.dataset(levels, PatientID=f"MRN{number // 2}")
        (study / f"IM{number}").write_bytes(dicom_case.saved(scan))
    for number, (patient, date) in enumerate([("MRN1", "20260130"), ("ANONYMOUS", "20260130"), ("?", "")], 3):
        scan = dicom_case.dataset(levels[:, : 40 - number].copy(), PatientID=patient, StudyDate=date)
        (study / f"IM{number}").write_bytes(dicom_case.saved(scan))
    folder = predicted(root, trained, f"input={study}", f"folder={pictures.parent / 'out'}")
    found = answers(folder)
    assert found[keys.PATIENT_ID].tolist() == ["MRN0", "MRN0", "MRN1", "MRN1", "", ""]
    assert found["study_date"].tolist() == ["", "", "", "2026-01-30", "2026-01-30", ""]
    patients = pd.read_csv(folder / "patients.csv", keep_default_na=False)
    expected = [["MRN0", "", 2], ["MRN1", "", 1], ["MRN1", "2026-01-30", 1]]  # years apart, stages differ
    assert patients[[keys.PATIENT_ID, keys.VISIT_ID, "n"]].to_numpy().tolist() == expected


def test_a_row_whose_values_changed_is_predicted_again(
    root: Path, trained: TrainedRun, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [path.name for path in sorted(pictures.iterdir())[:3]]
    table = pd.DataFrame({"image": names, "patient_id": list("abc"), "roi": ""})
    words = [f"input={pictures / 'table.csv'}", f"folder={pictures.parent / 'out'}"]
    table.to_csv(pictures / "table.csv", index=False)
    before = answers(predicted(root, trained, *words))[CHANCES].astype(float)
    table.loc[1, "roi"] = "2 2 20 20"
    table.to_csv(pictures / "table.csv", index=False)
    after = answers(predicted(root, trained, *words))[CHANCES].astype(float)
    assert "known    2 of 3 samples have answers already" in capsys.readouterr().out
    changed = np.abs(after.to_numpy() - before.to_numpy()).max(axis=1) > 1e-6
    assert changed.tolist() == [False, True, False]


def test_nearest_cases_are_training_patients_shown_with_their_stages(
    root: Path, trained: TrainedRun, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in sorted(pictures.iterdir())[2:]:
        path.unlink()
    samples = trained.samples
    learnt = samples[samples[keys.PARTITION] == keys.TRAIN]
    shutil.copy(originals(trained) / learnt[keys.IMAGE].iloc[0], pictures / "known.png")
    words = [f"input={pictures}", f"folder={pictures.parent / 'out'}"]
    folder = predicted(root, trained, *words, "nearest_cases=true")
    nearest = answers(folder)[list(nearest_cases.COLUMNS)]
    assert nearest.loc["known.png", "nearest_case_1"] == learnt.index[0]
    groups = learnt[keys.GROUP_ID]  # which are all training samples
    assert (nearest.map(groups.get).nunique(axis=1) == nearest_cases.NUMBER).all()
    page = unescape((folder / "answers.html").read_text())
    assert page.count('class="cases"') == len(nearest)
    stages = load(trained.config).manifest
    names = dict(zip(stages.table[keys.SAMPLE_ID], stages.labels, strict=True))
    for name in nearest.to_numpy().ravel():
        assert f"<strong>{stages.classes[names[name]]}</strong> <small>{name}</small>" in page
    assert "pictures of patients of phantom, on whom the run was trained (with their ids" in page
    with pytest.raises(ConfigError, match="another coverage or nearest_cases"):
        predicted(root, trained, *words)
    missing = nearest_cases.beside(Path("no run") / "best.ckpt")
    monkeypatch.setattr(nearest_cases, "beside", lambda checkpoint: missing)  # others use the run too
    with pytest.raises(ConfigError, match="stored no training cases beside its network"):
        predicted(root, trained, f"input={pictures}", f"folder={folder}2", "nearest_cases=true")


def test_every_dicom_file_of_pydicom_has_an_answer_or_a_sentence(
    root: Path, trained: TrainedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "files", tmp_path / "out"
    folder.mkdir()
    for path in sorted(Path(pydicom.data.__file__).parent.glob("test_files/**/*.dcm")):
        shutil.copy(path, folder / path.name)
    with pytest.raises(DataError, match=r"of \d+ samples have no answer"):
        predicted(root, trained, f"input={folder}", f"folder={out}", "dicom=true")
    found = answers(out)
    assert len(found) == len(list(folder.iterdir())) > 60
    staged = found[CHANCES].ne("").all(axis=1)
    assert (staged != found["error"].ne("")).all()
    assert staged.sum() > 20
    assert found.loc["CT_small.dcm", "study_date"] == "2004-01-19"
    index = pd.read_csv(out / "dicom" / "files.csv")
    said = capsys.readouterr().out
    assert len(index) + said.count("  - ") == staged.sum(), said
    for sample, report, capture in index[["sample_id", "report", "capture"]].itertuples(index=False):
        source = pydicom.dcmread(folder / sample, stop_before_pixels=True, force=True)
        read, image = (pydicom.dcmread(out / "dicom" / name) for name in (report, capture))
        assert read.PatientID == image.PatientID == (source.get("PatientID") or "")
        assert found.loc[sample, "predicted"] in str(read)
        assert image.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
