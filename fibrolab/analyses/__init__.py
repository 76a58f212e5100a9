"""Analyses of finished runs: evaluation, external data, comparison, stacking; and the planning of studies."""
