"""Lightning modules: each builds a network from primitives and trains it."""
