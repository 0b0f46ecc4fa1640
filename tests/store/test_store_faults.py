"""What goes wrong on the way to an object server, and what then becomes of it."""

import hashlib
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from faulty_proxy import Fault, FaultyProxy, Request, Rule
from minio.credentials.providers import AssumeRoleProvider
from object_server import ObjectServer

from assay_api import InvalidInput, StoreError
from assay_data.store import MANIFEST, Store, open_store

MIB = 2**20
Faulty = Callable[[Rule], AbstractContextManager[Store]]


@pytest.fixture
def faulty(
    bucket: str, server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Rule], AbstractContextManager[Store]]:
    """Return a store whose way to the server is faulty, given the rule of faults."""

    @contextmanager
    def opened(rule: Rule) -> Iterator[Store]:
        with FaultyProxy(server.port, rule) as proxy:
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
            yield open_store(bucket)
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)

    return opened


def sometimes(fault: Fault, every: int = 3, method: str = "") -> Rule:
    """Return a rule: the first of each few requests (of a method) meets the fault."""
    count = 0

    def rule(request: Request) -> Fault | None:
        nonlocal count
        if method and request.method != method:
            return None
        count += 1
        return fault if count % every == 1 % every else None

    return rule


@pytest.mark.parametrize(
    "rule",
    [
        sometimes(Fault(refuse_with=(503, "SlowDown"))),
        sometimes(Fault(refuse_with=(500, "InternalError"))),
        sometimes(Fault(lose_answer=True), every=5),
        sometimes(Fault(break_after_bytes=0), method="GET"),
        sometimes(Fault(break_after_bytes=100_000), method="GET", every=2),
        sometimes(Fault(flip_answer=True), method="GET", every=5),
        sometimes(Fault(flip_body=True), method="PUT"),
        sometimes(Fault(wait_seconds=0.3), every=2),
    ],
    ids="throttled failing lost refused broken flipped-down flipped-up slow".split(),
)
def test_what_passes_by_itself_is_not_noticed(faulty: Faulty, rule: Rule, tmp_path: Path) -> None:
    data = random.Random(1).randbytes(18 * MIB)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/big").write_bytes(data)
    (tmp_path / "tree/small").write_bytes(b"small")
    with faulty(rule) as store:
        digest = store.publish(tmp_path / "tree", "out")
        assert (store.fetch("out") / "big").read_bytes() == data
        store.write("key", b"value")
        assert store.read("key") == b"value"
        assert store.create("lock", b"me") and not store.create("lock", b"you")
        assert store.digest("out") == digest


@pytest.mark.parametrize(
    "fault", [Fault(break_after_bytes=3 * MIB), Fault(refuse_with=(503, "SlowDown"))]
)
def test_a_stream_goes_on_where_it_broke(faulty: Faulty, fault: Fault, tmp_path: Path) -> None:
    data = random.Random(1).randbytes(18 * MIB)
    with faulty(sometimes(fault, every=2, method="GET")) as store:
        store.write("big", data)
        with store.stream("big") as file:
            assert file.read() == data


def test_damage_that_stays_is_an_error_and_leaves_no_file(faulty: Faulty, tmp_path: Path) -> None:
    with faulty(lambda request: None) as store:
        store.write("key", b"value of the key")
    with faulty(sometimes(Fault(flip_answer=True), every=1, method="GET")) as store:
        with pytest.raises(StoreError, match=r"'key' of bucket .* SHA-256 .* was stored"):
            store.read("key")
        with pytest.raises(StoreError, match="was stored"):
            store.get("key", tmp_path / "file")
        with pytest.raises(StoreError, match="not those that were stored"):
            with store.stream("key") as file:
                file.read()
    assert list(tmp_path.glob("file*")) == []


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (507, "XMinioStorageFull", "the server's disk is full: free some space"),
        (400, "XMinioAdminBucketQuotaExceeded", "the bucket is full: raise its quota"),
        (403, "AccessDenied", "these credentials may not do that"),
        (405, "MethodNotAllowed", "is the bucket read-only"),
    ],
)
def test_what_stays_is_an_error_that_names_the_key_and_what_to_do(
    faulty: Faulty, status: int, code: str, message: str
) -> None:
    with faulty(lambda request: Fault(refuse_with=(status, code))) as store:
        with pytest.raises(StoreError, match=f"cannot write key 'a/b' of bucket test-.*{message}"):
            store.write("a/b", b"data")


def test_a_server_that_stays_away_is_an_error_at_the_deadline(
    bucket: str, server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("ASSAY_S3_DEADLINE_SECONDS", "1")
    with pytest.raises(StoreError, match=r"key 'x' of bucket test-.* at http://127.0.0.1:9: "):
        open_store(bucket).read("x")


def test_wrong_keys_a_wrong_bucket_and_a_wrong_clock_are_told(
    bucket: str, server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreError, match="no such bucket: create it, or correct the address"):
        open_store("s3://not-there-at-all").write("x", b"")
    monkeypatch.setattr("minio.time.utcnow", lambda: datetime.now(UTC) - timedelta(hours=1))
    with pytest.raises(StoreError, match="differ by more than 15 minutes: set them right"):
        open_store(bucket).write("x", b"")
    monkeypatch.undo()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StoreError, match="the secret key is wrong") as told:
        open_store(bucket).write("x", b"")
    assert "wrong'" not in str(told.value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    with pytest.raises(StoreError, match="does not know this access key"):
        open_store(bucket).write("x", b"")


def test_credentials_that_may_only_read_are_told_so(
    minio: ObjectServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    minio.client().make_bucket("read-only")
    allowed = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"]}
    statement = {**allowed, "Resource": ["arn:aws:s3:::*"]}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    found = AssumeRoleProvider(
        sts_endpoint=minio.endpoint,
        access_key=minio.access_key,
        secret_key=minio.secret_key,
        policy=json.dumps(policy),
    ).retrieve()
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "AWS_ACCESS_KEY_ID").write_text(found.access_key + "\n")
    (secret / "AWS_SECRET_ACCESS_KEY").write_text(found.secret_key)
    (secret / "AWS_SESSION_TOKEN").write_text(str(found.session_token))
    monkeypatch.setenv("AWS_ENDPOINT_URL", minio.endpoint)
    monkeypatch.setenv("ASSAY_S3_CREDENTIALS", str(secret))
    store = open_store("s3://read-only")
    assert store.list() == []
    with pytest.raises(StoreError, match=r"cannot write key 'x' .* may not do that: allow it"):
        store.write("x", b"")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("AWS_ENDPOINT_URL", "minio:9000", "AWS_ENDPOINT_URL='minio:9000': allowed is http://HOST"),
        ("ASSAY_S3_ADDRESSING", "other", "allowed are path and virtual"),
        ("AWS_CA_BUNDLE", "/nowhere.pem", "/nowhere.pem, which is no file"),
        ("ASSAY_S3_CREDENTIALS", "/nowhere", "has no AWS_ACCESS_KEY_ID and no AWS_SECRET"),
        ("ASSAY_S3_DEADLINE_SECONDS", "soon", "must be a number of seconds"),
    ],
)
def test_a_wrong_environment_is_the_users_to_mend(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInput, match=message):
        open_store("s3://bucket/x").read("y")


def test_without_credentials_it_says_where_they_may_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(InvalidInput, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or"):
        open_store("s3://bucket/x")


def test_an_upload_of_a_file_that_changes_meanwhile_is_an_error(
    faulty: Faulty, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def rule(request: Request) -> Fault | None:
        path.write_bytes(b"new and longer")
        return None

    with faulty(rule) as store:
        with pytest.raises(StoreError, match="was changed while it was uploaded"):
            store.put("key", path)


def test_with_the_server_killed_at_random_nothing_is_lost_and_nothing_half_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = random.Random(7)
    trees = [random_tree(tmp_path / f"tree-{number}", rng) for number in range(20)]
    with ObjectServer("minio", tmp_path_factory.mktemp("killed") / "data") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
        server.client().make_bucket("trees")
        store = open_store("s3://trees/x")
        with killed_at_random(server, rng), half_published(store) as half:
            digests = [store.publish(tree, tree.name) for tree in trees]
            copies = [store.fetch(tree.name) for tree in trees]
        assert half == []
        assert len(set(digests)) == len(trees)
        for tree, copy in zip(trees, copies, strict=True):
            assert contents(copy) == contents(tree)
            store.verify(tree.name)


def random_tree(tree: Path, rng: random.Random) -> Path:
    """Write ten files of up to 6 MiB."""
    tree.mkdir()
    for index in range(10):
        size = rng.choice([10, 60_000, 1_000_000, 6 * MIB])
        (tree / f"{index}.bin").write_bytes(rng.randbytes(size))
    return tree


@contextmanager
def meanwhile(act: Callable[[], None], pause: Callable[[], float]) -> Iterator[None]:
    """Do something again and again beside the block."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(pause()):
            act()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def killed_at_random(server: ObjectServer, rng: random.Random) -> Iterator[None]:
    """Kill the server every second or so, and start it again."""

    def kill() -> None:
        server.kill()
        time.sleep(rng.uniform(0.05, 0.5))
        server.start()

    with meanwhile(kill, lambda: rng.uniform(0.5, 2.0)):
        yield


@contextmanager
def half_published(store: Store) -> Iterator[list[str]]:
    """Look for trees that have a manifest and lack a file."""
    found: list[str] = []

    def look() -> None:
        for key in store.list():
            if key.endswith(MANIFEST):
                tree = store.child(key.removesuffix(f"/{MANIFEST}"))
                files = json.loads(tree.read(MANIFEST))["files"]
                found.extend(f"{tree.url}/{name}" for name in set(files) - set(tree.list()))

    with meanwhile(look, lambda: 0.05):
        yield found


def contents(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
