"""Policy losses, one a file, each with its own weight of a token."""
