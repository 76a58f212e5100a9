"""Statistics of `predictions.csv`: measures, intervals, baselines and comparisons, without a network."""
