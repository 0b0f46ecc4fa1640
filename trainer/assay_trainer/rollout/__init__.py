"""The sampler: vLLM engines, spread over Ray actors."""
