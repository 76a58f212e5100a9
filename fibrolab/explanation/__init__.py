"""Explanation of a trained network: attribution maps, their targets, shares of branches, and their files."""
