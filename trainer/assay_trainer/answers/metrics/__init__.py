"""How an answer is compared with the right one: pure functions of two texts, one metric a file.

Each returns a value in [0, 1]. What the answer is within a completion, the answer format says.
"""
