"""Judges of reasoning, one way of asking per file. They know a reward's outcome and no reward."""
