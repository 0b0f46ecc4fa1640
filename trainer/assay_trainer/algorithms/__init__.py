"""What the optimiser is told: advantages, importance weights, the loss, and what to sample next."""
