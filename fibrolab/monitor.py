"""Compare new answers with their run's validation: `python -m fibrolab.monitor run=ID predictions=DIR`."""

from fibrolab.config import command
from fibrolab.late_import import late

imported = late("fibrolab.analyses.monitoring.monitor")

if __name__ == "__main__":
    command("monitor", imported)
