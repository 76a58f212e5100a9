"""Explanations of a network's answers: heat maps of its inputs, and the tests of these maps."""
