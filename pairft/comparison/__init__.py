"""Compare runs on the same examples."""
