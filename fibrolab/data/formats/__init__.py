"""One module a kind of file, each with the functions of `contract.Format`."""
