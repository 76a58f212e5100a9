"""What is done with finished runs: stacked, set side by side, asked about another site."""
