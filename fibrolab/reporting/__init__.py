"""Tables, figures and one self-contained page, made from the files of a run's folder and nothing else."""
