"""Measures of predictions: of classes, of end points at a threshold, of probabilities, of single mistakes."""
