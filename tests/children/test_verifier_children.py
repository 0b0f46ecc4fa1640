"""A verifier's pod: the same Deployment and Service as a judge's, another command."""

import pytest

from assay_operator.commands import serve_arguments
from assay_operator.observed import ServeOrders


def orders(protocol: str) -> ServeOrders:
    return ServeOrders.model_validate(
        {
            "name": "facts",
            "model": "s3://models/hhem-2.1-open",
            "protocol": protocol,
            "num_frames": 0,
            "max_model_length_tokens": 2048,
            "precision": "Float32",
            "port": 0,
            "start_timeout_seconds": 600,
        }
    )


@pytest.mark.parametrize("on_gpu", [True, False])
def test_a_verifier_is_told_nothing_of_caches_and_images(on_gpu: bool) -> None:
    found = serve_arguments(
        orders("Pairs"), host="0.0.0.0", port=8000, on_gpu=on_gpu, cache_bytes=1
    )
    assert found[3:] == (
        *("--own-chat-template", "--model", "s3://models/hhem-2.1-open", "--name", "facts"),
        *("--host", "0.0.0.0", "--port", "8000"),
        *("--dtype", "float32", "--max-model-len", "2048"),
    )


def test_a_chat_model_as_a_verifier_is_served_as_a_judge_is() -> None:
    found = serve_arguments(orders("ChatPairs"), host="0.0.0.0", port=8000, on_gpu=False)
    assert "--gpu-memory-utilization" in found
