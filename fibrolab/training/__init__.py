"""One training: settings checked, weights and frozen features at hand, a module fitted, or resumed."""
