"""Model families, one a file: `family.py` says what a family is, and which there are."""
