"""The audit: copies, leaks, baselines, confounding and hygiene of a data set under a split."""

from fibrolab.data.audit.examine import VERSION, audit

__all__ = ["VERSION", "audit"]
