"""The requests that the server answers."""

import asyncio
import logging
import math
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, File, Form, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from fibrolab.errors import FibrolabError, StorageError
from fibrolab.runs import answering
from fibrolab.serving import readings as reading_study
from fibrolab.serving.guard import Guard
from fibrolab.serving.kept_files import KeptFiles
from fibrolab.serving.readings import ReadBeforeError, ReadingStore
from fibrolab.serving.request_counters import Measured, Measurements
from fibrolab.serving.staging import Row, Staged, Staging
from fibrolab.serving.uploads import Uploads, received

PAGE = Path(__file__).parent / "page"
LONGEST_READER = 80  # characters of a reader's name
_log = logging.getLogger(__name__)


class Fault(BaseModel):
    """Why a request has no answer."""

    detail: str


class Case(BaseModel):
    """A training case: its recorded class, and its picture as a `data:` address, empty without one."""

    stage: str
    picture: str


class Answers(BaseModel):
    """Answers to samples, and to patients where these are known, with the columns of `predict`.

    `cases` are the training cases that the samples name as nearest, by id; none unless the server shows them.
    """

    run: str
    use: str
    samples: list[dict[str, Any]]
    patients: list[dict[str, Any]]
    notes: list[str]
    cases: dict[str, Case] = {}


class Reading(BaseModel):
    """The model's answer to a file, after a reader's stage was kept."""

    reader: str
    stage: str
    answer: dict[str, Any]
    cases: dict[str, Case] = {}


class Pictures(BaseModel):
    """A file as pictures (`data:` addresses), one, or some frames of a film."""

    frames: int
    pictures: list[str]


class MapLayer(BaseModel):
    """A picture and the transparent layer of its map, as `data:` addresses."""

    branch: str
    title: str
    picture: str
    layer: str


class Map(BaseModel):
    """The map of one sample, of each branch of the network."""

    method: str
    target: str
    shows: str
    branches: list[MapLayer]


class Agreement(BaseModel):
    """Agreement of readers with the model, and of both with true stages."""

    rows: list[dict[str, Any]]
    curves: dict[str, dict[str, dict[str, list[list[float]]]]]
    notes: list[str]


class Alive(BaseModel):
    """A sign of life."""

    status: str = "ok"
    run: str


FAULTS: dict[int | str, dict[str, Any]] = {
    400: {"model": Fault, "description": "The request is no form"},
    401: {"model": Fault, "description": "The token is missing"},
    403: {"model": Fault, "description": "The request comes from elsewhere"},
    413: {"model": Fault, "description": "Too many or too large files"},
    422: {"model": Fault, "description": "The files or fields cannot be used"},
    507: {"model": Fault, "description": "The disk is full"},
}
REFUSALS: dict[int | str, dict[str, Any]] = {status: FAULTS[status] for status in (401, 403)}
Files = Annotated[list[UploadFile], File(description="Pictures, DICOM files or films")]
OneFile = Annotated[UploadFile, File(description="A picture, DICOM file or film")]
Table = Annotated[
    UploadFile | None,
    File(
        description="CSV with a row for each sample: files by name (image, elastogram, clip), clinical "
        "values, patient_id. Needed where the network takes more than one file of a sample."
    ),
]
MapReader = Annotated[
    str,
    Form(
        max_length=LONGEST_READER,
        description="Who asks, if the file was read in a study: a reader who has seen the answer",
    ),
]


@dataclass(frozen=True)
class Limits:
    """Limits of one request: size [MiB], and number of files."""

    megabytes: int
    files: int


@dataclass(frozen=True)
class Served:
    """Run, limits and stores that all requests share.

    Attributes:
        staging: The networks.
        limits: Limits of one request.
        facts: Facts of the run (`run_facts.of`).
        measurements: Counters.
        keep: Where files are kept; None for nowhere.
        readings: Readings of a study; None without one.
    """

    staging: Staging
    limits: Limits
    facts: dict[str, Any]
    measurements: Measurements
    keep: KeptFiles | None = None
    readings: ReadingStore | None = None

    async def answered(self, uploads: Uploads) -> Staged:
        """Return the answers to a request, after they were counted and kept."""
        found = await self.staging.answers(uploads)
        self.measurements.count(found.samples)
        if self.keep is not None:
            await asyncio.to_thread(self.keep.add, uploads, found.samples)
        return found

    async def remember(self, uploads: Uploads, reader: str = "") -> None:
        """Remember for a study that the answer to these files was shown, unless this reader had read them."""
        if self.readings is not None:
            await asyncio.to_thread(self.readings.remember, uploads.digests, reader)


def build(served: Served, host: str, token: str) -> ASGIApp:
    """Return the server of a run.

    Args:
        served: The run, its limits and its stores.
        host: Address at which it answers.
        token: Secret that requests must give; empty for none.
    """
    app = FastAPI(
        title="fibrolab",
        description=f"Stages of liver fibrosis by run {served.facts['run']}. Research use only.",
        docs_url=None,  # FastAPI's pages load scripts of other servers
        redoc_url=None,
    )
    _add_errors(app)
    _add_page(app, served)
    _add_answers(app, served)
    if served.readings is not None:
        _add_study(app, served, served.readings)
    return Measured(Guard(app, host, token, served.limits.megabytes), served.measurements)


def _add_errors(app: FastAPI) -> None:
    """Answer every fault with one sentence."""

    @app.exception_handler(FibrolabError)
    async def of_user(_: Request, error: FibrolabError) -> JSONResponse:
        status = (
            507 if isinstance(error, StorageError) else 409 if isinstance(error, ReadBeforeError) else 422
        )
        return JSONResponse({"detail": str(error)}, status)

    @app.exception_handler(RequestValidationError)
    async def of_form(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = [f"{each['loc'][-1]}: {each['msg']}" for each in error.errors()]
        return JSONResponse({"detail": "; ".join(faults)}, 422)

    @app.exception_handler(HTTPException)
    async def of_protocol(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"detail": str(error.detail)}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def of_code(request: Request, error: Exception) -> JSONResponse:
        _log.error("%s failed", request.url.path, exc_info=error)
        return JSONResponse({"detail": "The server failed at this request; its log has the reason."}, 500)


def _add_page(app: FastAPI, served: Served) -> None:
    """Add the page, the facts of the run, and what an operator asks."""

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(PAGE / "page.html")

    @app.get("/page.js", include_in_schema=False)
    def script() -> FileResponse:
        return FileResponse(PAGE / "page.js")

    @app.get("/page.css", include_in_schema=False)
    def styles() -> FileResponse:
        return FileResponse(PAGE / "page.css")

    @app.get("/run", responses=REFUSALS)
    def run() -> dict[str, Any]:
        """Return classes, decision rules, test numbers with intervals and the verdict of the audit."""
        limits = {"megabytes": served.limits.megabytes, "files": served.limits.files}
        return {**served.facts, "limits": limits, "study": served.readings is not None}

    @app.get("/health", responses={403: FAULTS[403]})
    def health() -> Alive:
        """Return a sign of life."""
        return Alive(run=served.facts["run"])

    @app.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, **REFUSALS},
    )
    def metrics() -> Response:
        """Return measurements in the format of Prometheus."""
        return Response(served.measurements.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_answers(app: FastAPI, served: Served) -> None:
    @app.post("/predict", responses=FAULTS)
    async def predict(files: Files, table: Table = None) -> Answers:
        """Stage pictures or films as `fibrolab predict` does; `error` says why one has no answer."""
        async with received(files, served.limits.files, table) as uploads:
            found = await served.answered(uploads)
            await served.remember(uploads)
        return _answers(served, found, uploads)

    @app.post("/pictures", responses=FAULTS)
    async def pictures(file: OneFile) -> Pictures:
        """Return a file as a browser can show it, such as DICOM and films, without an answer."""
        async with received([file], 1) as uploads:
            return Pictures(**await served.staging.pictures(uploads))

    @app.post("/map", responses=FAULTS)
    async def map_layers(files: Files, table: Table = None, reader: MapReader = "") -> Map:
        """Return the map of the most probable class of one sample, as a layer over its picture."""
        async with received(files, served.limits.files, table) as uploads:
            found = await served.staging.map_layer(uploads)
            await served.remember(uploads, reader)
        return Map(**found)


def _answers(served: Served, found: Staged, uploads: Uploads) -> Answers:
    return Answers(
        run=served.facts["run"],
        use=answering.USE,
        samples=found.samples,
        patients=found.patients,
        notes=list(uploads.notes),
        cases=found.cases,
    )


def _add_study(app: FastAPI, served: Served, store: ReadingStore) -> None:
    """Add the blinded reading study: stages of readers, and what they are worth."""

    @app.post("/readings", responses={**FAULTS, 409: {"model": Fault, "description": "Read before"}})
    async def add(
        file: OneFile,
        reader: Annotated[str, Form(min_length=1, max_length=LONGEST_READER, pattern=r"^\S(.*\S)?$")],
        stage: Annotated[
            str,
            Form(
                description="Class that the reader gives",
                json_schema_extra={"enum": list(store.rules.classes)},
            ),
        ],
    ) -> Reading:
        """Keep a reader's stage of a file together with the model's answer, which is returned only then."""
        if fault := store.stage_fault(stage):
            raise HTTPException(422, fault)
        async with received([file], 1) as uploads:
            (digest,) = uploads.digests
            await asyncio.to_thread(store.require_unread, reader, digest)
            found = await served.answered(uploads)
            (answer,) = found.samples
            await asyncio.to_thread(store.add, reader, digest, stage, answer)
        return Reading(reader=reader, stage=stage, answer=answer, cases=found.cases)

    @app.get(
        "/readings.csv",
        response_class=Response,
        responses={200: {"content": {"text/csv": {}}}, **REFUSALS},
    )
    def export() -> Response:
        """Return all readings of the run as CSV."""
        named = {"content-disposition": 'attachment; filename="readings.csv"'}
        return Response(store.csv(), media_type="text/csv; charset=utf-8", headers=named)

    @app.post("/agreement", responses=FAULTS)
    async def agreement(
        truth: Annotated[
            UploadFile | None, File(description="CSV with sha256, label and perhaps patient_id")
        ] = None,
    ) -> Agreement:
        """Return the agreement of readers with the model and, given true stages, areas under ROC curves."""
        async with _true_stages(truth, store) as stages:
            found = await asyncio.to_thread(reading_study.agreement, store, stages)
        return Agreement(**found | {"rows": [_finite(row) for row in found["rows"]]})


@asynccontextmanager
async def _true_stages(truth: UploadFile | None, store: ReadingStore) -> Any:
    """Yield the true stages of a request, None without any."""
    if truth is None:
        yield None
        return
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="fibrolab-") as made:
        path = Path(made) / "truth.csv"
        path.write_bytes(await truth.read())
        yield await asyncio.to_thread(reading_study.true_stages, path, store.rules.classes)


def _finite(row: Row) -> Row:
    """Return a row with None for numbers that are not known."""

    def known(value: Any) -> bool:
        return not isinstance(value, float) or math.isfinite(value)

    return {name: value if known(value) else None for name, value in row.items()}
