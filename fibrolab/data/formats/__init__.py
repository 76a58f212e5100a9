"""File formats: one module for each kind of file, with the functions of `contract.Format`."""
