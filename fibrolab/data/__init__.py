"""Data: source, manifest, survey, split, audit, preprocessed pixels, augmentation, batches."""
