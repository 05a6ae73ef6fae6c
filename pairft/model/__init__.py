"""The encoder and its head: loaded, checked, saved."""
