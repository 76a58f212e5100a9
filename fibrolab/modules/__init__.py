"""Lightning modules, each built from primitives: network, training step, metrics, optimizer."""
