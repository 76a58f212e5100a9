"""Predict new samples with a finished run: `python -m fibrolab.predict run=RUN_ID input=PATH`."""

from fibrolab.config import command
from fibrolab.late_import import late

imported = late("fibrolab.analyses.predicting.predict")

if __name__ == "__main__":
    command("predict", imported)
