"""Load, check and save the encoder and its head."""
