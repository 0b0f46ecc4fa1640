"""The data plane: object store, video decoding, frame plans, datasets, shards."""
