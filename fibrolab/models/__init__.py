"""The networks, as plain `nn.Module`: backbones, their fusion, heads, and initial weights."""
