"""The launcher for one machine: workloads as processes, the store as a folder."""
