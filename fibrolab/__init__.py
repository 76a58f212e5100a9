"""fibrolab: stage liver fibrosis from ultrasound, and know what the number is worth."""

__version__ = "0.1.0"
