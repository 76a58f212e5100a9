"""From `predictions.csv` to numbers with intervals and floors: numpy and pandas, no network, no trainer."""
