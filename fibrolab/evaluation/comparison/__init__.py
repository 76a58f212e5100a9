"""Comparison of arms on the same or on different patients: differences, tests, corrected p values."""
