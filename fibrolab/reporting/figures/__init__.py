"""The figures of a run, an audit and a comparison, in one style."""
