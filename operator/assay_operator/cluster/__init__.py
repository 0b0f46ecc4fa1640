"""The operator on a cluster: looks at the API server, asks reconcile, acts."""
