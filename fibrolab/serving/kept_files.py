"""Uploaded files and their answers, kept where the user asked for it."""

import json
import os
import shutil
import threading
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from fibrolab.errors import StorageError
from fibrolab.serving.staging import Row
from fibrolab.serving.uploads import Uploads
from fibrolab.storage import make_folder, unwritable

ANSWERS = "answers.jsonl"  # one JSON object a sample, as of `predict`, with time and folder


class KeptFiles:
    """Folder of the kept requests.

        FOLDER/answers.jsonl        every answer, with `time` (UTC) and `folder`
        FOLDER/REQUEST/NAME         the files of one request

    Args:
        folder: The folder.

    Raises:
        StorageError: It cannot be created.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = make_folder(folder.expanduser().absolute())
        self._lock = threading.Lock()

    def add(self, uploads: Uploads, rows: Sequence[Row]) -> None:
        """Keep the files of a request and their answers.

        Raises:
            StorageError: The disk is full, or the folder cannot be written.
        """
        now = datetime.now(UTC)
        name = f"{now:%Y-%m-%d_%H-%M-%S}_{uuid.uuid4().hex[:12]}"
        known = {"time": now.isoformat(timespec="seconds"), "folder": name}
        lines = "".join(f"{json.dumps({**row, **known}, ensure_ascii=False)}\n" for row in rows)
        path = self.folder / ANSWERS
        try:
            shutil.copytree(uploads.folder, self.folder / name)
            with self._lock, path.open("ab") as file:
                file.write(lines.encode())
                file.flush()
                os.fsync(file.fileno())
        except (OSError, shutil.Error) as error:
            raise StorageError(unwritable(path, error)) from error
