"""pairft: fine-tune BERT-like encoders on pairs of sentences, in a loop that can be read in one sitting."""

__version__ = "0.1.0"
