"""The tables of the pages, as lines of cells that are text already; one file a section."""
