"""Audit a data set and its split: `python -m fibrolab.audit data=kaggle_fibrosis data.root=DIR`."""

from fibrolab.config import command
from fibrolab.late_import import late

imported = late("fibrolab.auditing.run")

if __name__ == "__main__":
    command("audit", imported)
