"""Plan the number of patients of a study: `python -m fibrolab.plan auc=0.85 against=0.75 prevalence=0.4`."""

from fibrolab.config import command
from fibrolab.late_import import late

imported = late("fibrolab.analyses.planning.run")

if __name__ == "__main__":
    command("plan", imported)
