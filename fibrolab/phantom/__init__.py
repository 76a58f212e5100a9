"""The synthetic clinic: patients of known stage, drawn by the physics of B-mode ultrasound, as real files."""
