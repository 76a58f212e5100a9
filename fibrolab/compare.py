"""Compare finished runs on the same patients: `python -m fibrolab.compare runs=[ID,ID]`."""

from fibrolab.config import command
from fibrolab.late_import import late

imported = late("fibrolab.analyses.comparing.run")

if __name__ == "__main__":
    command("compare", imported)
