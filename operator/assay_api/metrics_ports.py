"""Where the processes of pods serve their metrics: the operator opens it, the trainer listens."""

PORT_VARIABLE = "ASSAY_METRICS_PORT"
"""Environment variable with the first port; unset, as on one machine: nothing listens."""
FIRST_PORT = 9100
"""Port of a pod's first process; each further one takes the next that is free."""
NUM_PORTS = 16
"""Ports that a pod's processes may use."""
