"""Combine finished runs with clinical values: `python -m fibrolab.stack runs=[ID,ID] columns=[lsm_kpa]`."""

from fibrolab.config import command
from fibrolab.late_import import late

imported = late("fibrolab.analyses.stacking.run")

if __name__ == "__main__":
    command("stack", imported)
