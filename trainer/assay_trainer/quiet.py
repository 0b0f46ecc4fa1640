"""What keeps the engines from filling the log with notices about themselves.

They read it when they are loaded: it has to be there before, in each process of its own.
"""

QUIET_ENV = {"TRANSFORMERS_VERBOSITY": "error", "TORCH_CPP_LOG_LEVEL": "ERROR"}
"""Variables of every process: notices of the engines, among the answers that were asked for."""

NO_BARS_ENV = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
}
"""Variables of a process whose output is no terminal."""
