"""One file a data set: it turns a folder, a table or a generator into a Manifest."""
