"""Callbacks of the training loop: averaging, history, predictions, stopping and resuming."""
