"""The training state, the update, the loop and the evaluation."""
