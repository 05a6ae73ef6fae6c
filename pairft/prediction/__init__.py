"""Prediction: a trained model, the rows that it answers for, and the files that its answers go into."""
