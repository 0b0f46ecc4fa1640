"""The trainer: losses, advantages, rewards, engines, loops, evaluation, report, command line."""
