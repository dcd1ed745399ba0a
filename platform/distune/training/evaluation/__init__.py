"""Evaluation: predictions, average precision, costs and figures of a detector."""
