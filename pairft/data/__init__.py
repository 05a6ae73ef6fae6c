"""From files, the Hub or the builtin grammar to batches of token ids."""
