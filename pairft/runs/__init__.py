"""The run directory and everything written into it."""
