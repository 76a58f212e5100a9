"""What is done with finished runs: read, stacked, set side by side, let answer another site."""
