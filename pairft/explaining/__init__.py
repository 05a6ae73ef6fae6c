"""One pair followed through one training step, with its own numbers: python -m pairft.explain."""
