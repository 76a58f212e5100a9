"""Confidence intervals: DeLong, Wilson, bootstrap, and the choice between them by simulated coverage."""
