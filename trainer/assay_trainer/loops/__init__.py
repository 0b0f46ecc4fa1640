"""The training loops, one file a method, each a page of verbs."""
