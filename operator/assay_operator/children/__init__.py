"""Builders: a workload in, the Kubernetes objects that run it out. Pure."""
