"""Models of the Hub, with its real client and a server that answers as the Hub does."""

import logging
import os
import threading
from pathlib import Path

import huggingface_hub.constants
import pytest
import typer
from hub_server import HubServer, Repository
from pydantic import ValidationError
from typer.testing import CliRunner

from assay_api import InvalidInput, ModelRef, ModelSource, ResolvedModel, StoreError
from assay_api.hub import HubModel
from assay_data.store import Store, open_store
from assay_trainer.cli.serve import serve_command
from assay_trainer.models.pinning import model_now, noted_model, pinned_model
from assay_trainer.models.published import model_description, model_folder

URI = "hf://a/model"


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "stage"))


def test_only_what_is_needed_comes_and_it_comes_once(hub: HubServer) -> None:
    described = model_description(URI)

    assert names(described) == ["config.json", "tokenizer.json"] == hub.downloads()

    folder = model_folder(URI)

    assert names(folder) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert (folder / "model.safetensors").read_bytes() == b"weights" * 1000
    before = hub.downloads()
    assert model_folder(URI) == folder
    assert hub.downloads() == before


def test_a_commit_that_is_here_needs_no_network(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = model_now(URI)
    folder = model_folder(pinned.uri)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)

    assert model_folder(pinned.uri) == folder
    with pytest.raises(InvalidInput, match=r"HF_HUB_OFFLINE is set.*unset it; .*hf://a/model@COMM"):
        model_folder(URI)


def test_a_moved_branch_does_not_change_a_started_stage(hub: HubServer, store: Store) -> None:
    commit = hub.models["a/model"].branches["main"]
    source = ResolvedModel(uri=URI)

    first = pinned_model(source, store)
    hub.models["a/model"].commit({"config.json": b"another", "model.safetensors": b"other"})
    again = pinned_model(source, store)

    assert first == again == ResolvedModel(uri=f"hf://a/model@{commit}", digest=commit)
    assert noted_model(source, store) == first
    assert (model_folder(again.uri) / "model.safetensors").read_bytes() == b"weights" * 1000
    assert model_now(URI).digest != commit
    # A spec that names something else starts from that.
    other = pinned_model(ResolvedModel(uri=f"{URI}@main"), store)
    assert other.digest == model_now(URI).digest


def test_of_several_processes_that_start_at_once_one_decides(hub: HubServer, store: Store) -> None:
    """Each would find another commit: the branch moves all the time."""
    found: list[str | None] = []

    def start() -> None:
        found.append(pinned_model(ResolvedModel(uri=URI), store).digest)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for number, thread in enumerate(threads):
        thread.start()
        hub.models["a/model"].commit({"config.json": b"%d" % number})
    for thread in threads:
        thread.join()

    assert len(set(found)) == 1


def test_a_revision_may_be_a_branch_a_tag_or_a_commit(hub: HubServer) -> None:
    commit = hub.models["a/model"].branches["main"]
    new = hub.models["a/model"].commit({"config.json": b"new"}, branch="v2")

    assert model_now(f"{URI}@v2").uri == f"hf://a/model@{new}"
    assert model_now(f"{URI}@{commit}").digest == commit
    with pytest.raises(InvalidInput, match=r"has no revision 'v3': name a branch, a tag"):
        model_now(f"{URI}@v3")


def test_a_token_is_sent_and_is_in_no_message(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    hub.models["a/private"] = Repository(token="hf_secret")
    hub.models["a/private"].commit({"config.json": b"{}", "model.safetensors": b"w"})

    with pytest.raises(InvalidInput, match=r"or it is private \(no token was sent\)"):
        model_folder("hf://a/private")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(
        InvalidInput, match=r"private \(a token was sent\).*\(HF_TOKEN, .*tokenSecret"
    ):
        model_folder("hf://a/private")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert names(model_folder("hf://a/private")) == ["config.json", "model.safetensors"]
    assert "hf_secret" not in caplog.text and "hf_wrong" not in caplog.text


def test_a_gated_model_says_what_to_do(hub: HubServer) -> None:
    hub.models["a/gated"] = Repository(token="hf_secret", gated=True)

    with pytest.raises(InvalidInput, match=r"is gated \(no token was sent\): accept its terms"):
        model_folder("hf://a/gated")


def test_a_hub_that_is_away_is_worth_another_attempt(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")

    with pytest.raises(StoreError, match=r"at http://127.0.0.1:9 cannot be read: .*HF_ENDPOINT"):
        model_folder(URI)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_damaged_file_is_not_taken(hub: HubServer, name: str, tmp_path: Path) -> None:
    hub.damaged.add(name)

    with pytest.raises(StoreError, match=rf"{name} came with .* the Hub says"):
        model_folder(URI)
    assert [p for p in (tmp_path / "cache/trees").iterdir() if p.suffix != ".lock"] == []
    hub.damaged.clear()
    assert (model_folder(URI) / name).is_file()


def test_a_model_of_pickles_alone_is_refused(hub: HubServer) -> None:
    hub.models["a/old"] = Repository()
    hub.models["a/old"].commit(
        {"config.json": b'{"model_type": "qwen2_5_vl"}', "pytorch_model.bin": b"pickle"}
    )

    with pytest.raises(InvalidInput, match=r"no weights \(\*\.safetensors\) there, found config"):
        model_description("hf://a/old")
    assert hub.downloads() == ["config.json"]


@pytest.mark.parametrize(
    "uri", ["hf://", "hf://model", "hf://a/b/c", "hf://a/b@", "hf://datasets/a/b"]
)
def test_other_names_are_refused_in_manifests_and_commands(uri: str) -> None:
    with pytest.raises(ValueError, match=r"must be hf://OWNER/NAME or hf://OWNER/NAME@REVISION"):
        HubModel.parse(uri)
    for kind in (ModelSource, ModelRef):
        with pytest.raises(ValidationError, match="must be hf://OWNER/NAME"):
            kind(uri=uri)
    with pytest.raises(InvalidInput, match="must be hf://OWNER/NAME"):
        model_folder(uri)


def test_a_served_model_is_that_of_the_first_start_and_its_server_asks_the_hub_for_nothing(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, served = typer.Typer(), []
    settings = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(context_settings=settings)(serve_command)
    for name in ("HF_HUB_OFFLINE", "VLLM_NO_USAGE_STATS", "VLLM_CPU_KVCACHE_SPACE"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setattr(os, "execv", lambda program, arguments: served.append(arguments))
    command = ["--model", URI, "--pin", str(tmp_path / "reward-models/judge")]

    for _ in range(2):
        CliRunner().invoke(app, command, catch_exceptions=False)
        hub.models["a/model"].commit({"config.json": b"another", "model.safetensors": b"other"})

    first, second = (arguments[arguments.index("--model") + 1] for arguments in served)
    assert first == second
    assert (Path(first) / "model.safetensors").read_bytes() == b"weights" * 1000
    assert os.environ["HF_HUB_OFFLINE"] == "1"
