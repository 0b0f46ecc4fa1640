"""`assay serve`: a trained model behind vLLM's OpenAI-compatible server."""

import os
import sys
from typing import Annotated

import typer


def serve_command(
    model: Annotated[str, typer.Option(help="Folder or URL of the model.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    name: Annotated[str, typer.Option(help="Name that clients ask for.")] = "detector",
) -> None:
    """Serve the model with the chat format that it was trained in; replaces this process.

    Raises:
        InvalidInput: there is no model.
    """
    import tempfile

    from assay_trainer.chat import CHAT_TEMPLATE
    from assay_trainer.models.published import check_model_folder, model_folder

    folder = model_folder(model)
    check_model_folder(folder)
    with tempfile.NamedTemporaryFile("w", suffix=".jinja", delete=False) as template:
        template.write(CHAT_TEMPLATE)
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    server = "vllm.entrypoints.openai.api_server"
    arguments = ["--model", str(folder), "--served-model-name", name, "--host", host]
    arguments += ["--port", str(port), "--chat-template", template.name]
    os.execv(sys.executable, [sys.executable, "-m", server, *arguments])
