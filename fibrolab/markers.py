"""Score clinical markers at end points: `python -m fibrolab.markers data=table data.path=patients.csv`."""

from fibrolab.config import command
from fibrolab.late_import import late

imported = late("fibrolab.analyses.scoring_markers.run")

if __name__ == "__main__":
    command("markers", imported)
