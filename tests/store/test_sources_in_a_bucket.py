"""Videos and models that lie in a bucket as anybody put them there."""

import json
from pathlib import Path

import pytest
from object_server import ObjectServer
from typer.testing import CliRunner

from assay_api import StoreError
from assay_data.store import local_copy, open_store
from assay_data.store.connection import connect
from assay_trainer.cli.data import data_app


@pytest.mark.parametrize("server", ["minio"], indirect=True)
def test_videos_in_a_bucket_become_a_dataset_in_it(
    server: ObjectServer, bucket: str, tmp_path: Path
) -> None:
    run = CliRunner().invoke
    rendered = tmp_path / "videos"
    assert run(data_app, ["render", str(rendered), "--videos", "8"]).exit_code == 0
    for path in rendered.rglob("*.mp4"):
        open_store(f"{bucket}/footage").put(path.relative_to(rendered).as_posix(), path)

    made = run(data_app, ["ingest", f"{bucket}/footage", "--out", f"{bucket}/sets/a", "--json"])
    here = run(data_app, ["ingest", str(rendered), "--out", str(tmp_path / "b"), "--json"])

    assert made.exit_code == here.exit_code == 0, made.output
    found, expected = json.loads(made.stdout), json.loads(here.stdout)
    assert found["rows_by_split_and_label"] == expected["rows_by_split_and_label"]
    shown = run(data_app, ["show", f"{bucket}/sets/a", "--verify"])
    assert "8 of 8 videos" in shown.stdout


def test_a_copy_of_a_bucket_is_of_a_tree_an_object_or_a_prefix(bucket: str, tmp_path: Path) -> None:
    store = open_store(bucket)
    store.write("rows/a b.jsonl", b"{}")
    store.write("rows/deep/c.jsonl", b"[]")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/weights").write_bytes(b"w")
    store.publish(tmp_path / "tree", "model")

    assert local_copy(f"{bucket}/rows/a%20b.jsonl").read_bytes() == b"{}"
    assert (local_copy(f"{bucket}/rows") / "deep/c.jsonl").read_bytes() == b"[]"
    assert (local_copy(f"{bucket}/model") / "weights").read_bytes() == b"w"
    store.write("rows/a b.jsonl", b"{1}")
    assert (local_copy(f"{bucket}/rows") / "a b.jsonl").read_bytes() == b"{1}"
    # What a publication that was killed leaves is not taken for a folder of anybody's.
    place = connect(bucket.removeprefix("s3://"))
    place.client.put_if(place.name, "rows/.assay-publishing.json", b"[]", {})
    with pytest.raises(StoreError, match="under way or was interrupted"):
        local_copy(f"{bucket}/rows")
    with pytest.raises(StoreError, match="holds nothing: correct the address"):
        local_copy(f"{bucket}/nowhere")
