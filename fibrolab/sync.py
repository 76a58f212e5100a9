"""Send what runs could not send to a tracking server that was away: `python -m fibrolab.sync`."""

from fibrolab.config import command
from fibrolab.late_import import late

imported = late("fibrolab.syncing.run")

if __name__ == "__main__":
    command("sync", imported)
