"""Rewards of the user's own.

load.py        the function that a manifest names, imported
calls.py       the calling conventions: what a function is given, and what its answer means
running.py     calls that may fail, answer nonsense or never return
"""
