"""Tables, figures and self-contained pages, made from the files of a run's folder only."""
