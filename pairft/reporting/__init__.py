"""report.html: what a run has learnt, in one file."""
