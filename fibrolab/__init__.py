"""fibrolab: stage liver fibrosis from ultrasound, with baselines and confidence intervals."""

__version__ = "0.1.0"
