"""The server of a trained run: answers as by `predict`, bad input, its own OpenAPI, a reader's browser."""

import functools
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import dicom_case
import hypothesis
import numpy as np
import pandas as pd
import pytest
import requests
import schemathesis
from chromium import chromium
from compose import composed, prepared, run_folder
from drawn import unreported
from own_data import PHANTOMS
from PIL import Image
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from served import running

from fibrolab import keys
from fibrolab.analyses import explaining, predicting
from fibrolab.data.formats import video
from fibrolab.errors import ConfigError
from fibrolab.loading import load
from fibrolab.pipeline import run
from fibrolab.runs import open_run
from fibrolab.serving.app import build
from fibrolab.serving.start import served

SMALL = ["preprocess.size=32", "trainer.max_epochs=1", "num_workers=0", "bootstrap.resamples=20"]
CHANCES = [f"p_F{stage}" for stage in range(5)]
FAMILIES = {
    "image": [],  # the run that other tests share
    "fusion": [
        "data=phantom_swe",
        *PHANTOMS["phantom_swe"],
        "data.missing=0.3",
        "model=multimodal",
        "+clinical@model.branches.clinical=lsm",
    ],
    "film": ["data=phantom_clips", *PHANTOMS["phantom_clips"], "model=video"],
}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Family:
    """A trained run, the settings of its server, and its test samples, complete ones first."""

    def __init__(self, root: Path) -> None:
        self.root, self.run = root, open_run(run_folder(root))
        self.folder = load(self.run.config).manifest.root
        module = self.run.predictors[0].module
        self.visual = [each for each in module.inputs if each != keys.CLINICAL]
        self.columns = [*self.visual, *module.clinical_columns]
        rows = self.run.samples[self.run.samples[keys.PARTITION] == keys.TEST].fillna("")
        lacking = (rows[self.visual] == "").any(axis=1)
        self.rows = pd.concat([rows[~lacking], rows[lacking]])

    def served(self, *words: str) -> AbstractContextManager[str]:
        place = (f"paths.root={self.root}", f"run={self.run.run_id}")
        return running(build(served(self.run, composed(*place, *words, name="serve")), "127.0.0.1", ""))

    def predicted(self, given: Path, out: Path, *words: str) -> pd.DataFrame:
        place = (f"paths.root={self.root}", f"run={self.run.run_id}", f"input={given}", f"folder={out}")
        predicting.predict(composed(*place, *words, name="predict"))
        return pd.DataFrame([json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()])


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, fresh_database: Path, cache: Path, finished: Path
) -> Callable[[str], Family]:
    """Return a function that trains a run of a family when it is asked for the first time."""

    @functools.cache
    def family(name: str) -> Family:
        if not FAMILIES[name]:
            return Family(finished)
        root = prepared(tmp_path_factory.mktemp(name), fresh_database, cache)
        with unreported():
            run(composed(f"paths.root={root}", *FAMILIES[name], *SMALL, "trainer.accelerator=cpu"))
        return Family(root)

    return family


@pytest.fixture(scope="module")
def address(trained: Callable[[str], Family], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server of the run on pictures, with a study of readers."""
    study = tmp_path_factory.mktemp("study") / "study.db"
    with trained("image").served(f"readings={study}") as address:
        yield address


def post(address: str, files: list[tuple[str, bytes]], table: str = "", path: str = "predict") -> dict:
    given = [("files", file) for file in files]
    if table:
        given.append(("table", ("rows.csv", table.encode())))
    found = requests.post(f"{address}/{path}", files=given, timeout=120)
    assert found.status_code == 200, found.text
    return found.json()


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "png")
    return out.getvalue()


def of_picture(number: int) -> bytes:
    """A picture unlike all others."""
    coarse = Image.fromarray(np.random.default_rng(number).integers(0, 256, (6, 6), dtype=np.uint8))
    return png(np.asarray(coarse.resize((48, 40), Image.Resampling.BICUBIC)))


@pytest.mark.parametrize("name", FAMILIES)
def test_answers_are_those_of_predict(trained: Callable[[str], Family], name: str, tmp_path: Path) -> None:
    family = trained(name)
    visual, rows = family.visual, family.rows.iloc[[0, 1, 2, -1]]
    for column in visual:
        for path in filter(None, rows[column]):
            shutil.copy(family.folder / path, tmp_path / Path(path).name)
    table = rows[family.columns].assign(**{each: [Path(path).name for path in rows[each]] for each in visual})
    text = table.to_csv(index=False)
    (tmp_path / "rows.csv").write_text(text)
    expected = family.predicted(tmp_path / "rows.csv", tmp_path / "out", "maps=true")
    page = (tmp_path / "out" / "answers.html").read_text()
    files = [
        (path.name, path.read_bytes())
        for path in tmp_path.iterdir()
        if path.name != "rows.csv" and path.is_file()
    ]
    with family.served() as address:
        found = pd.DataFrame(post(address, files, text)["samples"])
        facts = requests.get(f"{address}/run", timeout=60).json()
        one = [file for file in files if file[0] in set(table.iloc[0][visual])]
        shown = post(address, one, table.iloc[:1].to_csv(index=False), "map")
        file = {"file": one[0]}
        pictures = requests.post(f"{address}/pictures", files=file, timeout=60).json()
        lacking = requests.post(f"{address}/predict", files=[("files", file) for file in one], timeout=60)
    assert found[keys.SAMPLE_ID].tolist() == expected[keys.SAMPLE_ID].tolist()
    np.testing.assert_allclose(found[CHANCES].to_numpy(float), expected[CHANCES].to_numpy(float), atol=1e-5)
    np.testing.assert_allclose(found[CHANCES].sum(axis=1), 1.0, rtol=1e-12)  # not only to float32
    for column in ("predicted", "prediction_set", "copy_of", "error"):
        assert found[column].tolist() == expected[column].tolist()
    assert facts["inputs"] == visual
    assert facts["audit"]["word"]
    assert [row["title"] for row in facts["metrics"]]
    assert {each["branch"] for each in shown["branches"]}
    assert all(each["layer"].startswith("data:image/png;base64,") for each in shown["branches"])
    assert shown["target"] == found["predicted"].iloc[0]
    maps = re.findall(r'alt="(Grad-CAM of (F\d)[^"]*) over ([^"]+)"', page)
    classes = found.set_index(keys.SAMPLE_ID)["predicted"]
    assert all(target == classes[sample] for _, target, sample in maps)
    assert len(maps) == (rows[visual] != "").to_numpy().sum()  # none of what a sample lacks
    assert len(pictures["pictures"]) == (pictures["frames"] if name == "film" else 1)
    if name == "fusion":
        assert lacking.status_code == 422
        assert "send a CSV file as `table`" in lacking.json()["detail"]
    else:
        assert lacking.json()["samples"][0]["predicted"] == found["predicted"].iloc[0]


def test_a_sample_that_lacks_what_others_lacked_in_training_is_answered_alone_too(
    trained: Callable[[str], Family], tmp_path: Path
) -> None:
    family = trained("fusion")
    whole, lacking = family.rows.iloc[0], family.rows.iloc[-1]
    assert lacking["elastogram"] == ""
    named = {"a.png": whole["image"], "b.png": whole["elastogram"], "c.png": lacking["image"]}
    files = [(name, (family.folder / path).read_bytes()) for name, path in named.items()]
    header, value = "image,elastogram,lsm_kpa\n", f"{lacking['lsm_kpa']}"
    alone, both = f"{header}c.png,,{value}\n", f"{header}a.png,b.png,7\nc.png,,{value}\n"
    with family.served() as address:
        facts = requests.get(f"{address}/run", timeout=60).json()
        among = post(address, files, both)["samples"][1]
        (only,) = post(address, files[2:], alone)["samples"]
        shown = post(address, files[2:], alone, "map")
        given = [("files", files[2]), ("table", ("rows.csv", f"{header}c.png,,\n".encode()))]
        unmeasured = requests.post(f"{address}/predict", files=given, timeout=60)
        given[1] = ("table", ("rows.csv", f"image,lsm_kpa\nc.png,{value}\n".encode()))
        no_column = requests.post(f"{address}/predict", files=given, timeout=60)
    (tmp_path / "c.png").write_bytes(files[2][1])
    (tmp_path / "rows.csv").write_text(alone)
    (expected,) = family.predicted(tmp_path / "rows.csv", tmp_path / "out").to_dict("records")
    place = (f"paths.root={family.root}", f"run={family.run.run_id}", f"input={tmp_path / 'rows.csv'}")
    explaining.explain(composed(*place, f"folder={tmp_path / 'maps'}", name="explain"))
    (part,) = pd.read_csv(tmp_path / "maps" / "explanation" / "maps.csv").to_dict("records")
    assert part["width"] > 0
    assert np.isnan(part["elastogram_width"])
    assert facts["needed"] == ["image", "lsm_kpa"]
    for found in (among, only):
        np.testing.assert_allclose([found[name] for name in CHANCES], [expected[name] for name in CHANCES])
    assert [each["branch"] for each in shown["branches"]] == ["grey"]
    assert unmeasured.status_code == no_column.status_code == 422
    assert "needs lsm_kpa, which every sample of its training had" in unmeasured.json()["detail"]
    assert "takes elastogram, and 'samples' has no such column. It has: image" in no_column.json()["detail"]


def test_a_hundred_requests_at_once_get_each_the_answer_to_its_own_picture(address: str) -> None:
    pictures = [of_picture(number) for number in range(100)]
    alone: dict[int, list[float]] = {}
    for start in range(0, 100, 50):
        files = [(f"{number}.png", pictures[number]) for number in range(start, start + 50)]
        for row in post(address, files)["samples"]:
            alone[int(row[keys.SAMPLE_ID][:-4])] = [row[name] for name in CHANCES]
    assert len({tuple(np.round(each, 5)) for each in alone.values()}) > 90  # the answers differ

    def asked(number: int) -> list[float]:
        (row,) = post(address, [("same name.png", pictures[number])])["samples"]
        return [row[name] for name in CHANCES]

    with ThreadPoolExecutor(100) as pool:
        together = list(pool.map(asked, range(100)))
    np.testing.assert_allclose(together, [alone[number] for number in range(100)], atol=1e-5)


def test_what_is_no_picture_is_a_sentence_and_the_server_goes_on(address: str) -> None:
    cases = {
        "text.png": (b"hello", "is text, which is not read"),
        "empty.png": (b"", "the file is empty"),
        "half.png": (of_picture(0)[:200], "truncated or damaged"),
        "bomb.png": (png(np.zeros((20000, 20000), np.uint8)), "exceeds"),
    }
    for name, (content, words) in cases.items():
        found = requests.post(f"{address}/predict", files={"files": (name, content)}, timeout=60)
        assert found.status_code == 422, name
        assert words in found.json()["detail"]
        assert found.json()["detail"].startswith(name)
    mixed = post(address, [("good.png", of_picture(1)), ("text.png", b"hello")])["samples"]
    assert mixed[0]["predicted"].startswith("F")
    assert mixed[1]["predicted"] is None
    assert "is text" in mixed[1]["error"]


def test_a_table_reaches_no_file_of_the_server(address: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(of_picture(3))
    cases = {str(secret): "is absolute", f"../{secret.name}": "leads out", secret.name: "not among the files"}
    for path, words in cases.items():
        table = ("rows.csv", f"image\n{path}\n".encode())
        given = [("files", ("a.png", of_picture(2))), ("table", table)]
        found = requests.post(f"{address}/predict", files=given, timeout=60)
        assert found.status_code == 422
        assert words in found.json()["detail"]


def test_a_dicom_file_names_its_patient(address: str) -> None:
    files = []
    for number in range(3):
        levels = np.asarray(Image.open(io.BytesIO(of_picture(number))))
        scan = dicom_case.dataset(levels, PatientID=f"MRN{number // 2}")
        files.append((f"IM{number}", dicom_case.saved(scan)))
    found = post(address, files)
    assert [row[keys.PATIENT_ID] for row in found["samples"]] == ["MRN0", "MRN0", "MRN1"]
    assert [(row[keys.PATIENT_ID], row["n"]) for row in found["patients"]] == [("MRN0", 2), ("MRN1", 1)]


def test_a_study_of_readers_needs_one_file_a_sample(trained: Callable[[str], Family], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a network on one picture or film"):
        trained("fusion").served(f"readings={tmp_path / 'study.db'}")


def test_the_server_keeps_what_its_openapi_promises(address: str) -> None:
    operations = [
        found.ok() for found in schemathesis.openapi.from_url(f"{address}/openapi.json").get_all_operations()
    ]
    paths = {operation.path for operation in operations}
    assert {"/predict", "/map", "/readings", "/agreement", "/metrics", "/run", "/health"} <= paths
    bounded = hypothesis.settings(
        max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
    )
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            if mode == GenerationMode.NEGATIVE and not list(operation.body):
                continue  # nothing in it can be wrong

            @bounded
            @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
            def fuzzed(case: schemathesis.Case) -> None:
                case.call_and_validate(timeout=60, excluded_checks=[positive_data_acceptance])

            fuzzed()  # noise is no picture: it may be refused
    assert requests.get(f"{address}/health", timeout=60).status_code == 200


def test_a_reader_drops_files_moves_the_slider_and_reads_first(address: str, tmp_path: Path) -> None:
    scans = []
    for number in range(3):
        scans.append(tmp_path / f"scan{number}.png")
        scans[-1].write_bytes(of_picture(200 + number))
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1000, "height": 900})
        complaints, asked = [], []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.locator("#facts td").first.wait_for()
        # A file is dropped as from a desktop: its answer, then the map and its slider.
        dropped = page.evaluate_handle(
            "bytes => { const given = new DataTransfer();"
            " given.items.add(new File([new Uint8Array(bytes)], 'dropped.png')); return given; }",
            list(scans[0].read_bytes()),
        )
        page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})
        page.locator(".stage").wait_for()
        (row,) = post(address, [("dropped.png", scans[0].read_bytes())])["samples"]
        assert page.locator(".stage").inner_text().startswith(row["predicted"])
        assert page.locator(".bars dd").all_inner_texts() == [f"{row[name]:.2f}" for name in CHANCES]
        page.get_by_role("button", name="Show the map of the network").click()
        slider = page.get_by_role("slider", name="Opacity of the map")
        slider.focus()
        page.keyboard.press("End")
        layer = page.locator(".view img").nth(1)
        assert layer.evaluate("image => image.style.opacity + ' ' + (image.naturalWidth > 0)") == "1 true"
        page.keyboard.press("Home")
        assert layer.evaluate("image => image.style.opacity") == "0"
        # The reading study: no answer before the reader's stage, by keyboard alone.
        page.get_by_label("Reading study").check()
        page.set_input_files("#files", [scans[1]])
        assert "name of the reader" in page.locator("#status").inner_text()
        page.get_by_label("Name of the reader").fill("Reader A")
        page.set_input_files("#files", scans[1:])
        page.locator("article img").nth(1).wait_for()
        assert page.locator("article").count() == 2
        assert page.locator(".stage").count() == 0
        choice = page.locator("article").first.get_by_label("F2", exact=True)
        choice.focus()
        page.keyboard.press("Space")
        page.keyboard.press("Enter")
        page.locator(".compare").wait_for()
        assert page.locator(".compare").inner_text().startswith("Your stage: F2")
        assert page.locator(".stage").count() == 1
        page.get_by_role("button", name="Show the map of the network").click()  # no answer to other readers
        page.get_by_role("slider", name="Opacity of the map").wait_for()
        form = {"reader": "Reader B", "stage": "F1"}
        file = {"file": scans[1].read_bytes()}
        assert requests.post(f"{address}/readings", data=form, files=file, timeout=60).ok
        page.get_by_role("button", name="Compare readers with the network").click()
        page.locator("#compared table").wait_for()
        assert "Reader A" in page.locator("#compared").inner_text()
        # On a phone nothing leaves the screen, and no element lacks a name.
        page.set_viewport_size({"width": 360, "height": 700})
        root = "document.documentElement"
        assert page.evaluate(f"() => {root}.scrollWidth - {root}.clientWidth") == 0
        names = "all => all.filter(one => one.offsetParent && !(one.labels?.length || one.ariaLabel)).length"
        assert page.locator("input").evaluate_all(names) == 0
        assert complaints == []
        assert all(url.startswith((address, "data:", "blob:")) for url in asked)
    lines = requests.get(f"{address}/readings.csv", timeout=60).text.splitlines()
    assert [line.split(",")[2] for line in lines[1:] if "Reader A" in line] == ["Reader A"]
    readings = pd.read_csv(io.StringIO("\n".join(lines))).set_index("reader")
    assert readings.loc["Reader B", "answered_before"] == 0


def test_the_card_of_a_patient_shows_the_thresholds_of_patients(address: str, tmp_path: Path) -> None:
    for number in range(2):
        levels = np.asarray(Image.open(io.BytesIO(of_picture(300 + number))))
        scan = dicom_case.dataset(levels, PatientID="MRN7")
        (tmp_path / f"IM{number}").write_bytes(dicom_case.saved(scan))
    points = requests.get(f"{address}/run", timeout=60).json()["end_points"]
    assert [point["threshold"] for point in points] != [point["patient_threshold"] for point in points]
    with chromium() as browser:
        page = browser.new_page()
        page.goto(address)
        page.set_input_files("#files", sorted(tmp_path.iterdir()))
        rows = page.locator(".patient .points td:nth-of-type(1)")
        rows.first.wait_for()
        assert [f"(threshold {point['patient_threshold']:.3f})" for point in points] == [
            text.partition(" ")[2] for text in rows.all_inner_texts()
        ]


def test_a_film_that_is_too_short_is_named_without_the_servers_folder(
    trained: Callable[[str], Family], tmp_path: Path
) -> None:
    family = trained("film")
    video.write(tmp_path / "short.avi", np.zeros((3, 32, 32), np.uint8), fps=10)
    whole = family.folder / family.rows[keys.CLIP].iloc[0]
    with family.served() as address:
        given = [("short.avi", (tmp_path / "short.avi").read_bytes()), (whole.name, whole.read_bytes())]
        short, answered = post(address, given)["samples"]
    assert answered["error"] == ""
    assert "short.avi: has 3 frame(s)" in short["error"]
    assert "/" not in short["error"]


def test_two_pictures_and_a_value_are_staged_beside_their_nearest_cases(
    trained: Callable[[str], Family],
) -> None:
    family = trained("fusion")
    row = load(family.run.config).manifest.table.set_index(keys.SAMPLE_ID).loc[family.rows.index[0]]
    contents = {name: (family.folder / row[name]).read_bytes() for name in ("image", "elastogram")}
    value = f"{row['lsm_kpa']:.1f}"
    with family.served("nearest_cases=true") as address, chromium() as browser:
        facts = requests.get(f"{address}/run", timeout=60).json()
        table = f"image,elastogram,lsm_kpa\nimage.png,elastogram.png,{value}\n"
        given = post(address, [(f"{name}.png", content) for name, content in contents.items()], table)
        page = browser.new_page(viewport={"width": 1000, "height": 900})
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        for name, content in contents.items():  # each is dropped on its own field
            dropped = page.evaluate_handle(
                "([bytes, name]) => { const given = new DataTransfer();"
                " given.items.add(new File([new Uint8Array(bytes)], name)); return given; }",
                [list(content), "scan.png"],  # one name in two folders
            )
            zone = page.locator("#several .zone", has_text=f"Choose the {name}")
            zone.dispatch_event("drop", {"dataTransfer": dropped})
            assert "scan.png" in zone.inner_text()
        page.get_by_label("lsm_kpa").fill(value)
        page.get_by_role("button", name="Stage this sample").click()
        page.locator(".stage").wait_for()
        assert page.locator(".bars dd").all_inner_texts() == [
            f"{given['samples'][0][name]:.2f}" for name in CHANCES
        ]
        shown = page.locator(".cases li")
        named = [given["samples"][0][f"nearest_case_{rank}"] for rank in (1, 2, 3)]
        assert shown.all_inner_texts() == [f"{given['cases'][name]['stage']} {name}" for name in named]
        assert (
            shown.locator("img").evaluate_all("all => all.map(image => image.naturalWidth > 0)") == [True] * 3
        )
        assert page.locator("h4").inner_text() == f"Nearest training cases: patients of {facts['cases_of']}"
        assert "on whom the run was trained" in page.locator("#reading").inner_text()
        page.set_viewport_size({"width": 360, "height": 700})
        root = "document.documentElement"
        assert page.evaluate(f"() => {root}.scrollWidth - {root}.clientWidth") == 0
        assert complaints == []
    learnt = family.run.samples[family.run.samples[keys.PARTITION] == keys.TRAIN]
    assert set(named) <= set(learnt.index)
    with family.served() as address:
        answers = post(address, [(f"{name}.png", content) for name, content in contents.items()], table)
    assert answers["cases"] == {}
    assert "nearest_case_1" not in answers["samples"][0]
