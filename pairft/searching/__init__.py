"""A search over settings: the space, the trials, and whether the best recipe is better than the defaults."""
