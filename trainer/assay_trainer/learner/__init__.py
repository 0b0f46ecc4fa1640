"""The learner: log-probabilities of completions, and DeepSpeed's optimiser step."""
