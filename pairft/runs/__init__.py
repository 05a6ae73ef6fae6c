"""A run directory and all that is written into it."""
