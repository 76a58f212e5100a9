"""The synthetic clinic: simulated ultrasound of patients whose stage is known, stored as real files."""
