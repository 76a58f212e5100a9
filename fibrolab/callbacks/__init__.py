"""Callbacks of the training loop: history, guards, averaging, predictions."""
