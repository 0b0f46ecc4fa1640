"""How much memory and time a stage needs on the GPUs of a pool."""
