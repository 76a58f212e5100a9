"""The audit command: verdict, page and exit code; computed once for the same data, and before training."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import commanded
import pandas as pd
import pytest
from compose import composed, run_folder
from drawn import unrendered
from own_data import PHANTOMS
from pydicom.data import get_testdata_file
from small_masks import write

from fibrolab import auditing, keys
from fibrolab.auditing import announce, audited, enforce, run
from fibrolab.errors import AuditError, StorageError
from fibrolab.loading import load
from fibrolab.reporting.figures import audit as audit_figures
from fibrolab.reporting.tables import audit as audit_tables
from fibrolab.storage import SEAL

CINE = "examples_ybr_color.dcm"
STEATOSIS = Path(__file__).parents[3] / "shared" / "data" / "steatosis_rois" / "rois.csv"
LEAKY = ["split=paper_random", "audit.strict=true"]


@pytest.fixture
def phantom(cache: Path) -> list[str]:
    """Settings of a phantom that all tests share; what is measured of it is in each test's own cache."""
    return [*PHANTOMS["phantom"], f"data.root={cache}"]


def command(root: Path, *overrides: str) -> commanded.Ended:
    words = (f"paths.root={root}", f"folder={root / 'audit'}", *overrides)
    return commanded.command("audit", *words, where=root)


@pytest.mark.usefixtures("coarse_figures")
def test_an_audit_prints_its_verdict_and_the_path_of_its_page(kaggle_tree: Path, tmp_path: Path) -> None:
    ended = command(tmp_path, "data=kaggle_fibrosis", f"data.root={kaggle_tree}")
    assert (ended.returncode, ended.stderr.count("Traceback")) == (0, 0)
    assert ended.stdout.startswith("verdict  warning\n")
    assert "Identical copies: 20 of 80 samples; distinct images: 60." in ended.stdout
    folder = tmp_path / "audit"
    assert f"page     {folder / keys.AUDIT_PAGE}" in ended.stdout
    found = json.loads((folder / keys.AUDIT_FILE).read_text())
    assert found["exact_copies"] == 20
    page = (folder / keys.AUDIT_PAGE).read_text()
    assert "python -m fibrolab.audit" in page  # how to repeat it
    assert {path.stem for path in (folder / keys.FIGURES).iterdir()} == {"audit_clusters", "audit_baselines"}


@pytest.mark.usefixtures("blank_figures")
def test_a_strict_audit_that_fails_exits_with_1_and_writes_the_page(
    kaggle_tree: Path, tmp_path: Path
) -> None:
    ended = command(tmp_path, "data=kaggle_fibrosis", f"data.root={kaggle_tree}", *LEAKY)
    assert ended.returncode == 1
    (last,) = [line for line in ended.stderr.splitlines() if line.startswith("error:")]
    assert "The audit of 'kaggle_fibrosis' failed: " in last
    assert "identical copy in training" in last
    assert ended.stdout.startswith("verdict  fail\n")
    assert (tmp_path / "audit" / keys.AUDIT_PAGE).is_file()


@pytest.mark.usefixtures("blank_figures")
def test_a_failed_strict_audit_prevents_training(
    kaggle_tree: Path, tmp_path: Path, fresh_database: Path
) -> None:
    from fibrolab import pipeline

    (tmp_path / "mlruns").mkdir()
    shutil.copy(fresh_database, tmp_path / "mlruns")
    overrides = ["debug=fast_dev_run", f"paths.root={tmp_path}", f"data.root={kaggle_tree}", *LEAKY]
    with pytest.raises(AuditError, match="Correct the data or choose another split"):
        pipeline.run(composed("data=kaggle_fibrosis", *overrides))
    folder = run_folder(tmp_path)
    assert json.loads((folder / keys.AUDIT_FILE).read_text())["verdict"] == "fail"
    assert (folder / keys.AUDIT_PAGE).is_file()
    assert not (folder / keys.PREDICTIONS_FILE).exists()


@pytest.mark.usefixtures("blank_figures")
def test_the_same_data_and_split_are_measured_once(
    tmp_path: Path, phantom: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []
    audit = auditing.audit
    monkeypatch.setattr(
        auditing, "audit", lambda *given, **more: measured.append(given) or audit(*given, **more)
    )

    def again(*overrides: str) -> dict:
        config = composed(f"paths.root={tmp_path}", "folder=unused", *phantom, *overrides, name="audit")
        return audited(config, load(config), tmp_path / "audit")

    first = again()
    assert first == again()
    assert len(measured) == 1
    assert again("split.seed=1") != first
    again("task=ge_F2")
    assert len(measured) == 3
    again()
    assert len(measured) == 3


def test_an_audit_is_computed_again_if_any_of_its_inputs_changed(tmp_path: Path, phantom: list[str]) -> None:
    config = composed(f"paths.root={tmp_path}", "folder=unused", *phantom, name="audit")
    data = load(config)
    table, facts = data.manifest.table, data.facts[keys.IMAGE]
    changed = [
        replace(data, manifest=replace(data.manifest, table=table.assign(site="north"))),
        replace(data, manifest=replace(data.manifest, table=table.assign(scores=[[1, 2]] * len(table)))),
        replace(data, manifest=replace(data.manifest, left_out=("a.png: truncated",))),
        replace(data, manifest=replace(data.manifest, classes=tuple("abcde"))),
        replace(data, facts={keys.IMAGE: facts.assign(width=1)}),
        replace(data, facts={keys.IMAGE: facts, keys.CLIP: facts}),
        replace(data, classes=list("abcde")),
        replace(data, labels=data.labels[::-1]),
        replace(data, split=replace(data.split, val_is_test=True)),
    ]
    assert len({auditing._cache_key(each) for each in [data, *changed]}) == 1 + len(changed)
    moved = replace(data, manifest=replace(data.manifest, root=tmp_path / "elsewhere"))
    assert auditing._cache_key(moved) == auditing._cache_key(data)


def test_figures_are_kept_with_their_audit_and_copied(
    tmp_path: Path, phantom: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = composed(f"paths.root={tmp_path}", "folder=unused", *phantom, name="audit")
    data = load(config)
    with unrendered():
        found = audited(config, data, tmp_path / "one")
    drawn = {path.name for path in (tmp_path / "one" / keys.FIGURES).iterdir()}
    assert "audit_baselines.png" in drawn
    kept = json.loads((tmp_path / "one" / keys.AUDIT_FILE).read_text())
    assert audit_tables.protocol_baselines(found) == audit_tables.protocol_baselines(kept)
    monkeypatch.delattr(audit_figures, "draw")
    (tmp_path / "other" / keys.FIGURES).mkdir(parents=True)
    (tmp_path / "other" / keys.FIGURES / "audit_clusters.png").touch()
    audited(config, data, tmp_path / "other")
    assert {path.name for path in (tmp_path / "other" / keys.FIGURES).iterdir()} == drawn


@pytest.mark.usefixtures("blank_figures")
def test_a_stored_audit_is_read_if_the_cache_cannot_be_written(tmp_path: Path, phantom: list[str]) -> None:
    config = composed(f"paths.root={tmp_path}", "folder=unused", *phantom, name="audit")
    data = load(config)
    first = audited(config, data, tmp_path / "one")
    kept = tmp_path / "cache" / auditing.CACHED
    for path in (*kept.iterdir(), kept):
        path.chmod(0o555)
    assert audited(config, data, tmp_path / "other") == first
    for path in ((tmp_path / "other"), *(tmp_path / "other").iterdir()):
        assert path.stat().st_mode & 0o200  # the run can still write here
    kept.chmod(0o755)


def test_a_folder_that_cannot_be_written_is_reported_in_one_sentence(
    tmp_path: Path, phantom: list[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    config = composed(f"paths.root={tmp_path}", f"folder={tmp_path / 'file'}", *phantom, name="audit")
    with pytest.raises(StorageError, match="name another folder"):
        run(config)


@pytest.mark.usefixtures("coarse_figures")
def test_a_damaged_audit_in_the_cache_is_computed_again(
    tmp_path: Path,
    phantom: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = composed(f"paths.root={tmp_path}", "folder=unused", *phantom, name="audit")
    data = load(config)
    found = audited(config, data, tmp_path / "run")
    (kept,) = (path for path in (tmp_path / "cache" / auditing.CACHED).iterdir() if path.is_dir())
    drawn = keys.FIGURES + "/audit_baselines.png"
    fresh = {path: path.read_bytes() for path in (kept / keys.AUDIT_FILE, kept / SEAL, kept / drawn)}
    monkeypatch.setattr(auditing, "audit", lambda *_, **__: found)
    for path, content in fresh.items():
        for damaged in (bytes([content[0] ^ 1]) + content[1:], content[:-1], b"[]"):
            caplog.clear()
            path.write_bytes(damaged)
            for _ in range(2):
                assert audited(config, data, tmp_path / "run") == found
            assert {path: path.read_bytes() for path in fresh} == fresh
            assert (tmp_path / "run" / drawn).read_bytes() == fresh[kept / drawn]
            assert caplog.messages == [f"The audit {kept} is damaged; it is computed again."]


def test_only_a_failure_is_enforced() -> None:
    found = {"name": "x", "verdict": "warning", "warnings": ["Something."]}
    enforce(found, strict=True)
    enforce(found | {"verdict": "fail"}, strict=False)
    with pytest.raises(AuditError, match="Something"):
        enforce(found | {"verdict": "fail"}, strict=True)


@pytest.mark.usefixtures("blank_figures")
def test_data_too_small_to_split_is_audited_nevertheless(kaggle_tree: Path, tmp_path: Path) -> None:
    for stage in ("F0", "F1", "F2", "F3", "F4"):
        (tmp_path / "few" / stage).mkdir(parents=True)
        shutil.copy(kaggle_tree / stage / f"{stage.lower()}_01.png", tmp_path / "few" / stage)
    config = composed(
        "data=kaggle_fibrosis", f"data.root={tmp_path / 'few'}", f"paths.root={tmp_path}",
        f"folder={tmp_path / 'audit'}", name="audit",
    )  # fmt: skip
    assert run(config) == "fail"
    found = json.loads((tmp_path / "audit" / keys.AUDIT_FILE).read_text())
    assert "leaves classes out" in found["warnings"][0]


@pytest.mark.usefixtures("blank_figures")
def test_the_best_accuracy_of_a_phantom_is_in_its_audit_unless_the_task_has_other_classes(
    tmp_path: Path, phantom: list[str]
) -> None:
    def found(*overrides: str) -> dict:
        config = composed(f"paths.root={tmp_path}", "folder=unused", *phantom, *overrides, name="audit")
        return audited(config, load(config), tmp_path / "audit")

    assert found()["best_accuracy"] == {"image": pytest.approx(0.924, abs=0.001)}
    page = (tmp_path / "audit" / keys.AUDIT_PAGE).read_text()
    assert "Best possible accuracy by image" in page
    assert "92.4" in page
    assert "best_accuracy" not in found("task=ge_F2")


@pytest.mark.usefixtures("coarse_figures")
def test_pydicom_s_own_ultrasound_files_are_audited_through_a_table(tmp_path: Path) -> None:
    names = ["ExplVR_BigEnd.dcm", "examples_jpeg2k.dcm", "examples_palette.dcm", "examples_rgb_color.dcm"]
    for name in (*names, CINE):
        shutil.copy(get_testdata_file(name, download=False), tmp_path)
    stills = [{"image": name, "frame": "", "patient_id": f"p{i}"} for i, name in enumerate(names)]
    frames = [{"image": CINE, "frame": frame, "patient_id": "p9"} for frame in range(0, 30, 3)]
    rows = pd.DataFrame(stills + frames)
    rows.assign(label=["a", "b"] * 7).to_csv(tmp_path / "files.csv", index=False)
    table = ["data=table", f"data.path={tmp_path / 'files.csv'}", "data.classes=[a,b]", "task=nominal"]
    config = composed(*table, f"paths.root={tmp_path}", f"folder={tmp_path / 'audit'}", name="audit")
    run(config)
    found = json.loads((tmp_path / "audit" / keys.AUDIT_FILE).read_text())
    assert (found["samples"], found["patients"], found["patients_with_two_labels"]) == (14, 5, 1)
    assert list(found["identity"]) == ["PatientName"]
    assert (
        "CompressedSamples" not in (tmp_path / "audit" / keys.AUDIT_PAGE).read_text()
    )  # counted, but its value is not shown


@pytest.mark.shared
def test_real_patches_with_patients_are_audited_through_a_table(tmp_path: Path) -> None:
    if not STEATOSIS.exists():
        pytest.skip(f"the real patches are not beside the project ({STEATOSIS})")
    config = composed(
        "data=table", f"data.path={STEATOSIS}", f"data.root={STEATOSIS.parent / 'images'}",
        "data.classes=[normal,fatty]", "data.columns.patient_id=patient", "data.columns.frame=null",
        "task=nominal", f"paths.root={tmp_path}", f"folder={tmp_path / 'audit'}", name="audit",
    )  # fmt: skip
    assert run(config) == "warning"
    found = json.loads((tmp_path / "audit" / keys.AUDIT_FILE).read_text())
    assert (found["samples"], found["patients"], found["leak"]["groups"]) == (550, 55, 0)
    assert any("2 unbroken runs" in sentence for sentence in found["warnings"])  # sorted by diagnosis


@pytest.mark.slow
def test_a_setting_left_over_from_another_split_is_named(tmp_path: Path) -> None:
    ended = command(tmp_path, "split=kfold", "+split.test=0.2", "data.patients=30", "data.size=32")
    assert ended.returncode == 1
    assert "error: split.test is not a setting of kfold. Leave it out with ~split.test." in ended.stderr
    assert "Traceback" not in ended.stderr


def test_names_that_look_like_markup_are_printed_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = "Site A[/b] goes with the class, [Siemens] too."
    announce(tmp_path / "[red]", {"verdict": "warning", "warnings": [sentence]})
    printed = capsys.readouterr().out
    assert f"! {sentence}" in printed
    assert str(tmp_path / "[red]" / keys.AUDIT_PAGE) in printed


@pytest.mark.usefixtures("coarse_figures")
def test_a_segmentation_is_audited_without_labels_and_without_baselines_of_classes(tmp_path: Path) -> None:
    path = write(tmp_path / "own")
    words = ["data=table", f"data.path={path}", "task=segmentation", f"paths.root={tmp_path}"]
    config = composed(*words, f"folder={tmp_path / 'audit'}", name="audit")
    assert run(config) == "warning"  # four patients in the test set
    found = json.loads((tmp_path / "audit" / keys.AUDIT_FILE).read_text())
    assert found["classes"] == {"images": 40}
    assert not {"baselines", "protocols", "confounding"} & set(found)
    assert {finding["key"] for finding in found["findings"]} == {"small_classes"}
    page = (tmp_path / "audit" / keys.AUDIT_PAGE).read_text()
    assert "The baseline of a segmentation is the mean training mask" in page
    assert "Shortcuts unrelated" not in page
    assert "not recorded" not in page.partition("Reproduction</h2>")[0]
