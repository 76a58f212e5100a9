"""Serve a finished run to readers and other programs: `python -m fibrolab.serve run=RUN_ID`."""

from fibrolab.config import command
from fibrolab.late_import import late

imported = late("fibrolab.serving.start.serve")

if __name__ == "__main__":
    command("serve", imported)
