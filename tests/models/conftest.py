from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
from hub_server import HubServer, Repository

FILES = {
    "config.json": b'{"model_type": "qwen2_5_vl"}',
    "tokenizer.json": b"{}",
    "model.safetensors": b"weights" * 1000,
    "pytorch_model.bin": b"pickle",
    "README.md": b"# A model",
    "onnx/model.onnx": b"no",
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A hub with the model a/model, which is all that this process knows of the Hub."""
    with HubServer() as server:
        server.models["a/model"] = Repository()
        server.models["a/model"].commit(FILES)
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
        # The library reads its environment once.
        constants = huggingface_hub.constants
        url = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        yield server
