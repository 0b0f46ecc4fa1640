"""Rewards: one per file, each a function of the prompt and one rollout; `scoring` adds them up."""
