"""Published numbers: whether those that a paper prints are possible together."""
