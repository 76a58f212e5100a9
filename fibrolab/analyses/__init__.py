"""Analyses of finished runs (evaluation, external data, comparison, stacking), of markers; study planning."""
