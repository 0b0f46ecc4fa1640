"""The rules, one per file, each a pure function of what is observed."""
