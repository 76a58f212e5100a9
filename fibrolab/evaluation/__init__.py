"""From `predictions.csv` to numbers with intervals and baselines: no network, no trainer."""
