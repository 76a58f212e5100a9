"""Uploaded files: written to a temporary folder under their names, listed as samples, and removed."""

import hashlib
import re
import tempfile
import unicodedata
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from fibrolab import keys
from fibrolab.data import tables
from fibrolab.data.manifest import PATHS, Manifest
from fibrolab.errors import DataError, FibrolabError
from fibrolab.runs import new_input
from fibrolab.runs.checkpoint import Predictor

LONGEST_NAME = 200  # bytes of a file's name, of which a file system takes 255
BLOCK = 2**20
LABELS_UNUSED = (f"The column {keys.LABEL} of the table is not used.",)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Uploads:
    """Files of one request.

    Attributes:
        folder: Temporary folder that holds them.
        files: The pictures and films, in the order of the request.
        digests: SHA-256 of each.
        table: A table that names them; None if there is none.
        notes: Sentences on what is not used.
    """

    folder: Path
    files: tuple[Path, ...]
    digests: tuple[str, ...]
    table: Path | None = None
    notes: tuple[str, ...] = ()

    def manifest(self, network: Predictor) -> Manifest:
        """List the files as samples for a network, without reading them.

        Raises:
            DataError: The files do not suit the network, or the table names other files or has a fault.
        """
        module = network.module
        if self.table is None and (len(module.modalities) != 1 or module.clinical_columns):
            needed = ", ".join([*module.modalities, *module.clinical_columns])
            raise DataError(
                f"The network takes {' and '.join(module.inputs)} of each sample: send a CSV file as `table` "
                f"beside the files, with a row for each sample and the columns {needed}."
            )
        given = self.files if self.table is None else (self.table,)
        manifest = new_input.listed(given, network.record, module.inputs, labels=False)
        self._refuse_other_files(manifest)
        network.require_columns(manifest)
        return manifest

    def _refuse_other_files(self, manifest: Manifest) -> None:
        """Refuse a table that names a file which was not sent, and files that it does not name."""
        sent = {file.name for file in self.files}
        named = {str(cell) for name in PATHS if name in manifest.table for cell in manifest.table[name]}
        if strange := sorted(named - sent - {""}):
            raise DataError(f"The table names {strange[0]}, which is not among the files that were sent.")
        if unused := sorted(sent - named):
            raise DataError(f"The table does not name {unused[0]}, which was sent.")


@asynccontextmanager
async def received(
    files: Sequence[UploadFile], most: int, table: UploadFile | None = None
) -> AsyncIterator[Uploads]:
    """Write the files of a request into a temporary folder, which is removed at the end.

    Args:
        files: The pictures and films.
        most: Largest number of files.
        table: A CSV file that names them.

    Raises:
        HTTPException: There are too many files.
        DataError: There is no file, a name is not allowed or occurs twice.
    """
    if len(files) > most:
        raise HTTPException(
            413,
            f"A request may have {most} files, and this one has {len(files)}: send fewer at once, or start "
            "the server with a larger limits.files.",
        )
    names = [_name(file) for file in files]
    _refuse_names(names)
    made = tempfile.TemporaryDirectory(prefix="fibrolab-")
    folder = Path(made.name)
    try:
        paths = [folder / name for name in names]
        pairs = zip(files, paths, strict=True)
        digests = [await run_in_threadpool(_write, file, path) for file, path in pairs]
        uploads = Uploads(folder, tuple(paths), tuple(digests))
        if table is not None:
            uploads = await run_in_threadpool(_with_table, uploads, table)
        yield uploads
    except FibrolabError as error:  # a client knows the files by their names
        if made.name not in str(error):
            raise
        raise type(error)(str(error).replace(f"{made.name}/", "")) from error
    finally:
        await run_in_threadpool(made.cleanup)  # in a thread: some disks take milliseconds to remove a folder


def _name(file: UploadFile) -> str:
    """Return the name of a file without its folders, in the form that tables are read in (NFC)."""
    return unicodedata.normalize("NFC", (file.filename or "").replace("\\", "/").rpartition("/")[2])


def _refuse_names(names: Sequence[str]) -> None:
    if not names or names == [""]:
        raise DataError("No file was sent: send a picture, a DICOM file or a film as `files`.")
    for name in names:
        if name in ("", ".", "..") or _CONTROL.search(name) or len(name.encode()) > LONGEST_NAME:
            raise DataError(
                f"A file cannot be called '{_CONTROL.sub(' ', name)[:60]}': give it another name."
            )
        if Path(name).suffix.lower() in new_input.TABLES:
            raise DataError(f"{name} is a table: send it as `table` beside the files that it names.")
        if names.count(name) > 1:
            raise DataError(f"Two files are called {name}: give each a name of its own.")


def _write(upload: UploadFile, path: Path) -> str:
    """Write a file, and return the SHA-256 of its bytes."""
    digest = hashlib.sha256()
    with path.open("xb") as out:
        while block := upload.file.read(BLOCK):
            digest.update(block)
            out.write(block)
    return digest.hexdigest()


def _with_table(uploads: Uploads, table: UploadFile) -> Uploads:
    """Add a table that names the files.

    Raises:
        DataError: It is not a CSV file.
    """
    if Path(_name(table)).suffix.lower() != ".csv":
        raise DataError("The table must be a CSV file, whose name ends with .csv.")
    path = uploads.folder / "samples.csv"
    _write(table, path)
    labelled = keys.LABEL in tables.header(path)
    return replace(uploads, table=path, notes=LABELS_UNUSED if labelled else ())
