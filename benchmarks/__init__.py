"""Benchmarks: each prints a ratio measured in one run; their results are in README.md."""

from fibrolab.processes import keep_freed_memory

keep_freed_memory()  # as every command does
