"""Commands that print speed and memory as ratios or sizes; see README.md."""

from fibrolab.processes import keep_freed_memory

keep_freed_memory()  # as every command does
