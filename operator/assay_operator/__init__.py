"""The operator: pure decisions, builders of workloads, and the launcher for one machine."""
