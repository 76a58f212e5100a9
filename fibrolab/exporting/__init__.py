"""Trained runs as artifacts that other programs run: the exported network, its formats, and its checks."""
