"""Smear models: training, evaluation and prediction. Knows nothing of the portal around it."""
