"""Studies: all arms, protocols, end points and seeds of a paper as one command, and its tables."""
