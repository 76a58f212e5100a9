"""The audit: copies, leaks, floors, confounding and hygiene of a data set under a split."""

from fibrolab.data.audit.copies import Sheet, contact_sheet
from fibrolab.data.audit.examine import VERSION, audit

__all__ = ["VERSION", "Sheet", "audit", "contact_sheet"]
