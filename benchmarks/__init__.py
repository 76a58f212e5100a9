"""Commands that print speed and memory as ratios or sizes; see README.md."""
