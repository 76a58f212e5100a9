"""Sources: one module for each kind of data set, which turns a folder, table or generator into a Manifest."""
