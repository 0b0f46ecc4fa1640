"""A run as one self-contained HTML page: curves, samples beside their frames, evaluation, data.

    collect     reads a store into a `Run`; the only part that reads
    overview    what became of each stage, in one row          (pure)
    charts      curves out of a stage's numbers                (pure)
    sampling    which steps, groups and clips are shown        (pure)
    page        a `Run` as HTML                                (pure)

The page asks nothing of a network and is safe to open: what a model wrote is shown as text only.
"""
