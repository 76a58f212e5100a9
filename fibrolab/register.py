"""Register the exported model of a finished run in MLflow: `python -m fibrolab.register run=ID name=NAME`."""

from fibrolab.config import command
from fibrolab.late_import import late

imported = late("fibrolab.analyses.registering.run")

if __name__ == "__main__":
    command("register", imported)
