"""The requests of the server without a network behind it: who may ask, how much, under which names."""

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any

import pytest
import requests
import uvicorn
from served import running

from fibrolab.errors import ConfigError, DataError
from fibrolab.runs import answering
from fibrolab.serving import guard
from fibrolab.serving.app import Limits, Served, build
from fibrolab.serving.kept_files import KeptFiles
from fibrolab.serving.readings import ReadingStore
from fibrolab.serving.request_counters import Measurements
from fibrolab.serving.staging import Staged
from fibrolab.serving.start import bound
from fibrolab.serving.uploads import Uploads

TOKEN = "a secret of enough letters"
RULES = answering.Rules(("F0", "F1"), True, {"F1": 1}, {"F1": 0.5}, 1.0, 0.1, 0.9)


class FakeStaging:
    """Answer each file with its own bytes, and refuse a file of the word `fault`."""

    def __init__(self) -> None:
        self.waiting = 0
        self.folders: list[Path] = []

    async def answers(self, uploads: Uploads) -> Staged:
        self.folders.append(uploads.folder)
        rows = [self.row(path) for path in uploads.files]
        if any(path.read_bytes() == b"fault" for path in uploads.files):
            raise DataError(f"{uploads.folder}/a.png: is a fault")
        return Staged(rows, [])

    async def map_layer(self, uploads: Uploads) -> dict[str, Any]:
        return {"method": "none", "target": "F1", "shows": "", "branches": []}

    def row(self, path: Path) -> dict[str, Any]:
        known = {"sample_id": path.name, "content": path.read_text(), "error": ""}
        model = {"predicted": "F1", "confidence": 0.75, "prediction_set": "F1", "p_F0": 0.25, "p_F1": 0.75}
        return known | model


@pytest.fixture
def staging() -> FakeStaging:
    return FakeStaging()


def served(staging: FakeStaging, megabytes: int = 1, files: int = 3, **stores: Any) -> Served:
    facts = {"run": "0a1b", "classes": ["F0", "F1"]}
    return Served(staging, Limits(megabytes, files), facts, Measurements(staging), **stores)  # type: ignore[arg-type]


@pytest.fixture
def address(staging: FakeStaging) -> Iterator[str]:
    with running(build(served(staging), "127.0.0.1", "")) as address:
        yield address


def post(address: str, *files: tuple[str, bytes], **more: Any) -> requests.Response:
    return requests.post(f"{address}/predict", files=[("files", file) for file in files], timeout=30, **more)


def test_answers_come_in_the_order_of_the_files_and_nothing_is_kept(
    address: str, staging: FakeStaging
) -> None:
    found = post(address, ("b.png", b"first"), ("a.png", b"second"))
    assert found.status_code == 200
    assert [row["content"] for row in found.json()["samples"]] == ["first", "second"]
    assert found.json()["use"] == "research use only"
    (folder,) = staging.folders
    assert not folder.exists()


@pytest.mark.parametrize(
    ("names", "status", "words"),
    [
        (["a.png", "a.png"], 422, "Two files are called a.png"),
        (["dir/a.png", "other\\a.png"], 422, "Two files are called a.png"),
        (["a.csv"], 422, "a.csv is a table: send it as `table`"),
        ([".."], 422, "cannot be called '..'"),
        (["x" * 300], 422, "give it another name"),
        (["1", "2", "3", "4"], 413, "may have 3 files, and this one has 4"),
        ([], 422, "files"),
    ],
)
def test_files_that_cannot_be_told_apart_or_are_too_many_are_refused(
    address: str, names: list[str], status: int, words: str
) -> None:
    found = post(address, *[(name, b"x") for name in names])
    assert found.status_code == status
    assert words in found.json()["detail"]


def test_a_fault_names_the_file_without_the_servers_folder(address: str) -> None:
    found = post(address, ("a.png", b"fault"))
    assert (found.status_code, found.json()) == (422, {"detail": "a.png: is a fault"})


def test_an_upload_beyond_the_limit_is_dropped_while_it_streams(
    address: str, staging: FakeStaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    write = SpooledTemporaryFile.write
    monkeypatch.setattr(
        SpooledTemporaryFile, "write", lambda own, block: written.append(len(block)) or write(own, block)
    )
    told = post(address, ("a.png", bytes(2**21)))  # refused by the size that it states
    assert (told.status_code, written) == (413, [])

    def stream() -> Iterator[bytes]:
        yield b'--a\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        for _ in range(64):
            yield bytes(2**20)

    form = {"Content-Type": "multipart/form-data; boundary=a"}
    streamed = requests.post(f"{address}/predict", data=stream(), headers=form, timeout=30)
    assert streamed.status_code == 413
    assert "may have 1 MiB" in streamed.json()["detail"]
    assert sum(written) <= 2**20
    assert staging.folders == []
    assert post(address, ("a.png", b"still there")).status_code == 200


def test_only_pages_of_this_machine_are_answered_without_a_token(address: str) -> None:
    assert requests.get(f"{address}/health", timeout=30).json() == {"status": "ok", "run": "0a1b"}
    elsewhere = requests.get(f"{address}/run", headers={"Host": "example.org"}, timeout=30)
    assert elsewhere.status_code == 403
    own = post(address, ("a.png", b"x"), headers={"Origin": address})
    other = post(address, ("a.png", b"x"), headers={"Origin": "http://example.org"})
    assert (own.status_code, other.status_code) == (200, 403)


def test_a_server_for_others_asks_for_its_token(staging: FakeStaging) -> None:
    with running(build(served(staging), "0.0.0.0", TOKEN)) as address:
        page = requests.get(address, timeout=30)
        assert page.status_code == 200
        assert "script-src 'self'" in page.headers["content-security-policy"]
        for path in ("/run", "/metrics", "/openapi.json", "/docs"):
            assert requests.get(f"{address}{path}", timeout=30).status_code == 401
        for given in ("Bearer wrong", f"Basic {TOKEN}", "Bearer"):
            refused = post(address, ("a.png", b"x"), headers={"Authorization": given})
            assert refused.status_code == 401
        assert staging.folders == []
        known = post(address, ("a.png", b"x"), headers={"Authorization": f"Bearer {TOKEN}"})
        assert known.status_code == 200


@pytest.mark.parametrize(
    ("host", "token", "words"),
    [
        ("0.0.0.0", "", "can be reached from other machines"),
        ("192.0.2.10", "", "FIBROLAB_TOKEN"),
        ("example.org", "", "can be reached"),
        ("127.0.0.1", "short", "has 5 characters: give at least 16"),
        ("0.0.0.0", f"{TOKEN}\n", "has blanks or a line break around it"),
        ("0.0.0.0", "ein Schlüssel mit Umlaut", "or letters beyond ASCII"),
    ],
)
def test_an_address_for_others_needs_a_token(host: str, token: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        guard.check(host, token)
    for loopback in ("127.0.0.1", "localhost", "::1"):
        guard.check(loopback, "")
    guard.check("0.0.0.0", TOKEN)


def test_files_are_kept_where_the_user_asked_for_it(staging: FakeStaging, tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path / "kept")
    with running(build(served(staging, keep=kept), "127.0.0.1", "")) as address:
        post(address, ("a.png", b"one"))
        post(address, ("a.png", b"two"))
    assert (kept.folder / "answers.jsonl").read_text().count("\n") == 2
    assert {path.read_text() for path in kept.folder.rglob("a.png")} == {"one", "two"}


def test_a_reading_is_kept_before_the_answer_is_shown(staging: FakeStaging, tmp_path: Path) -> None:
    store = ReadingStore(tmp_path / "study.db", "0a1b", RULES)
    with running(build(served(staging, readings=store), "127.0.0.1", "")) as address:

        def read(stage: str, content: bytes, reader: str = "A") -> requests.Response:
            form = {"reader": reader, "stage": stage}
            return requests.post(
                f"{address}/readings", data=form, files={"file": ("a.png", content)}, timeout=30
            )

        assert read("F9", b"x").json()["detail"] == "'F9' is not a class of this run: give one of F0, F1."
        assert read("F0", b"fault").status_code == 422
        assert len(store.table()) == 0
        first = read("F0", b"x")
        assert first.json()["answer"]["predicted"] == "F1"
        again = read("F1", b"x")
        assert again.status_code == 409
        assert "A read this file as F0" in again.json()["detail"]
        post(address, ("b.png", b"y"))  # the answer to this file was shown
        assert read("F1", b"y", "B").status_code == 200
        table = store.table()
        assert table["reader_stage"].tolist() == ["F0", "F1"]
        assert table["model_stage"].tolist() == ["F1", "F1"]
        assert table["sha256"].tolist() == [hashlib.sha256(each).hexdigest() for each in (b"x", b"y")]
        assert table["answered_before"].tolist() == [0, 1]
        lines = requests.get(f"{address}/readings.csv", timeout=30).text.splitlines()
        assert len(lines) == 3
        assert "a.png" not in "".join(lines)
        found = requests.post(f"{address}/agreement", timeout=30).json()
        assert [row["reader"] for row in found["rows"]] == ["A"]
        assert any("1 of 2 readings are left out" in note for note in found["notes"])


def test_a_map_after_the_own_reading_does_not_leave_out_other_readers(
    staging: FakeStaging, tmp_path: Path
) -> None:
    store = ReadingStore(tmp_path / "study.db", "0a1b", RULES)
    with running(build(served(staging, readings=store), "127.0.0.1", "")) as address:

        def ask(path: str, field: str, **form: str) -> requests.Response:
            return requests.post(f"{address}/{path}", data=form, files={field: ("a.png", b"x")}, timeout=30)

        assert ask("readings", "file", reader="A", stage="F0").ok
        assert ask("map", "files", reader="A").ok
        assert ask("readings", "file", reader="B", stage="F0").ok
        assert ask("map", "files").ok  # by nobody of the study
        assert ask("readings", "file", reader="C", stage="F0").ok
    assert store.table()["answered_before"].tolist() == [0, 0, 1]


def test_without_a_study_there_is_no_way_to_read(address: str) -> None:
    assert requests.get(f"{address}/readings.csv", timeout=30).status_code == 404
    assert requests.get(f"{address}/run", timeout=30).json()["study"] is False


def test_the_content_of_an_answer_does_not_wait_until_its_headers_are_confirmed() -> None:
    with bound(uvicorn.Config("none", host="127.0.0.1", port=0)) as listening:
        listening.listen()
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        used = uvicorn.Config("none", host="127.0.0.1", port=listening.getsockname()[1])
        with pytest.raises(ConfigError, match="The server cannot answer at"):
            bound(used)


def test_requests_and_stages_are_counted(address: str) -> None:
    post(address, ("a.png", b"x"), ("b.png", b"y"))
    post(address, ("a.png", b"fault"))
    text = requests.get(f"{address}/metrics", timeout=30).text
    assert 'fibrolab_requests_total{path="/predict",status="200"} 1.0' in text
    assert 'fibrolab_requests_total{path="/predict",status="422"} 1.0' in text
    assert 'fibrolab_samples_total{predicted="F1"} 2.0' in text
    assert "fibrolab_waiting 0.0" in text


def test_a_fault_of_the_code_is_no_end_of_the_server(address: str, staging: FakeStaging) -> None:
    async def broken(_: Uploads) -> Staged:
        raise KeyError("a fault of the code")

    staging.answers, own = broken, staging.answers  # type: ignore[method-assign]
    found = post(address, ("a.png", b"x"))
    assert (found.status_code, "its log has the reason" in found.text) == (500, True)
    staging.answers = own  # type: ignore[method-assign]
    assert post(address, ("a.png", b"x")).status_code == 200


def test_the_page_asks_nobody_else() -> None:
    folder = Path(guard.__file__).parent / "page"
    texts = {path.name: path.read_text() for path in folder.iterdir()}
    assert set(texts) == {"page.html", "page.css", "page.js"}
    assert not [name for name, text in texts.items() if "//" in text.replace("http://www.w3.org/2000/svg", "")
                .replace("// ", "")]  # fmt: skip
    assert "innerHTML" not in texts["page.js"]
