"""Evaluation: a model's answers about held-out clips, and the numbers made of them."""
