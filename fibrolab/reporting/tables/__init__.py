"""The tables of the pages, by subject, and their files."""
