"""Measures of segmentations, from the measures of each image to tables with intervals."""
