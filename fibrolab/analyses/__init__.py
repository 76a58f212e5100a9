"""Analyses of finished runs: evaluation, other sites, comparison, stacking; and the planning of studies."""
