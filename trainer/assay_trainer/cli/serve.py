"""`assay serve`: a model behind vLLM's OpenAI-compatible server, or a verifier behind our own."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from assay_trainer.rollout.server import ServerOptions


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

    A verifier of the layout of HHEM-2.1-Open, which config.json tells, is served by /score instead,
    as vLLM speaks it; of the options below it takes --dtype and --max-model-len.

    Tokens are drawn as in training: defaults in the model's folder (generation_config.json) are not
    applied. All other options are passed on to vLLM's server. Of these, --dtype (float32 or
    bfloat16; that of the model's files), --max-model-len (8192, or what the model can) and
    --gpu-memory-utilization (0.9) decide whether the model fits, before it is loaded.

    Raises:
        InvalidInput: there is no model, a GPU is wanted and cannot be used, or the model does not
            fit into it.
        EngineError: another process uses the GPU.
    """
    from assay_data.store.tree_cache import keep_through_exec
    from assay_trainer.device import require_device
    from assay_trainer.models.published import check_model_folder, model_folder
    from assay_trainer.rollout.server import MODULE, ServerOptions, server_arguments
    from assay_trainer.verifier.hhem import is_hhem

    require_device()
    folder = model_folder(_pinned(model, pin))
    # The server itself asks the Hub for nothing.
    os.environ["HF_HUB_OFFLINE"] = "1"
    if is_hhem(folder):
        _serve_verifier(folder, ServerOptions(name=name, host=host, port=port), context.args)
        return
    if not own_chat_template:
        check_model_folder(folder)
    template = None if own_chat_template else _template_file()
    options, others = ServerOptions(
        name=name, host=host, port=port, chat_template=template
    ).changed_by(context.args)
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    arguments = [*server_arguments(folder, options), *others]
    # The server is this process: what it serves must not be evicted from the cache meanwhile.
    keep_through_exec()
    os.execv(sys.executable, [sys.executable, "-m", MODULE, *arguments])


def _serve_verifier(folder: Path, options: "ServerOptions", arguments: Sequence[str]) -> None:
    import torch

    from assay_api import InvalidInput
    from assay_trainer.device import require_device, uses_gpu
    from assay_trainer.rollout.server import DEFAULT_MAX_MODEL_LENGTH, PRECISIONS
    from assay_trainer.verifier.hhem import load_hhem
    from assay_trainer.verifier.server import serve

    options, others = options.changed_by(arguments)
    if others:
        raise InvalidInput(
            f"assay serve: got {' '.join(others)}, which a verifier does not know: leave it out"
        )
    dtype = options.dtype or "float32"
    if dtype not in PRECISIONS:
        raise InvalidInput(f"--dtype: got {dtype!r}, allowed: {', '.join(PRECISIONS)}")
    require_device(PRECISIONS[dtype])
    verifier = load_hhem(folder, getattr(torch, dtype), "cuda" if uses_gpu() else "cpu")
    longest = options.max_model_length_tokens or DEFAULT_MAX_MODEL_LENGTH
    serve(verifier, options.name, longest, options.host, options.port)


def _pinned(model: str, pin: str | None) -> str:
    from assay_api import ResolvedModel
    from assay_data.store import open_store
    from assay_trainer.models.pinning import pinned_model

    if pin is None:
        return model
    return pinned_model(ResolvedModel(uri=model), open_store(pin)).uri


def _template_file() -> Path:
    import tempfile

    from assay_trainer.chat import CHAT_TEMPLATE

    with tempfile.NamedTemporaryFile("w", suffix=".jinja", delete=False) as template:
        template.write(CHAT_TEMPLATE)
    return Path(template.name)
