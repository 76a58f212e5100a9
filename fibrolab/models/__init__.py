"""The networks, as plain `nn.Module`: backbones, their fusion, heads, and the weights they start from."""
