"""The server of a trained run: a page for readers, and the same answers over HTTP."""
