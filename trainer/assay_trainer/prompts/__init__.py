"""From rows of a dataset to what a model is asked, and shown."""
