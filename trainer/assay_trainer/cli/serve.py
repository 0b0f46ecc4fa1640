"""`assay serve`: a trained model behind vLLM's OpenAI-compatible server."""

import os
import sys
from typing import Annotated

import typer


def serve_command(
    context: typer.Context,
    model: Annotated[
        str, typer.Option(help="Folder or URL of the model, or hf://OWNER/NAME@REVISION.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    name: Annotated[str, typer.Option(help="Name that clients ask for.")] = "detector",
    own_chat_template: Annotated[
        bool,
        typer.Option(help="With the model's own chat format, as a judge from elsewhere has it."),
    ] = False,
    pin: Annotated[
        str | None,
        typer.Option(
            help="Folder or URL where the commit of a model of the Hub is noted and looked up."
        ),
    ] = None,
) -> None:
    """Serve the model with the chat format that it was trained in; replaces this process.

    All other options are passed on to vLLM's server.

    Raises:
        InvalidInput: there is no model.
    """
    from assay_data.store.tree_cache import keep_through_exec
    from assay_trainer.models.published import check_model_folder, model_folder

    folder = model_folder(_pinned(model, pin))
    # The server itself asks the Hub for nothing.
    os.environ["HF_HUB_OFFLINE"] = "1"
    if not own_chat_template:
        check_model_folder(folder)
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    # On a CPU this variable goes before the option.
    if "--kv-cache-memory-bytes" not in context.args:
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    server = "vllm.entrypoints.openai.api_server"
    arguments = ["--model", str(folder), "--served-model-name", name, "--host", host]
    arguments += ["--port", str(port), *context.args]
    if not own_chat_template:
        arguments += ["--chat-template", _template_file()]
    # The server is this process: what it serves must not be evicted from the cache meanwhile.
    keep_through_exec()
    os.execv(sys.executable, [sys.executable, "-m", server, *arguments])


def _pinned(model: str, pin: str | None) -> str:
    from assay_api import ResolvedModel
    from assay_data.store import open_store
    from assay_trainer.models.pinning import pinned_model

    if pin is None:
        return model
    return pinned_model(ResolvedModel(uri=model), open_store(pin)).uri


def _template_file() -> str:
    import tempfile

    from assay_trainer.chat import CHAT_TEMPLATE

    with tempfile.NamedTemporaryFile("w", suffix=".jinja", delete=False) as template:
        template.write(CHAT_TEMPLATE)
    return template.name
