"""The way of the data: source, manifest, survey, split, pixels, batches."""
