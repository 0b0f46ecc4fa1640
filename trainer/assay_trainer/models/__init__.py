"""The model: made from scratch or loaded, its inputs, and its positions."""
