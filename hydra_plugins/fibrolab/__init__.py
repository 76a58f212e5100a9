"""Plugins of Hydra, which imports each of these modules at the start of every command: they import late."""
