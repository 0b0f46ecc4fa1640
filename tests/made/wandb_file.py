"""Reads the file of an offline run of W&B, whose format is that of LevelDB's logs."""

import json
import struct
from pathlib import Path

_BLOCK, _MAGIC, _HEADER = 32768, 7, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(data: bytes) -> list[bytes]:
    """Return the records of a file, as far as it goes."""
    found, place, parts = [], _MAGIC, b""
    while place + _HEADER <= len(data):
        left = _BLOCK - place % _BLOCK
        if left < _HEADER:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + _HEADER])
        parts += data[place + _HEADER : place + _HEADER + length]
        place += _HEADER + length
        if kind in (FULL, LAST):
            found.append(parts)
            parts = b""
    return found


def wandb_history(folder: Path) -> list[dict[str, float]]:
    """Return the numbers of all rows in all runs of a folder, in order."""
    from wandb.proto.wandb_internal_pb2 import Record

    rows = []
    for path in sorted(folder.rglob("*.wandb")):
        for content in records(path.read_bytes()):
            record = Record.FromString(content)
            if record.HasField("history"):
                rows.append(
                    {
                        item.key or "/".join(item.nested_key): json.loads(item.value_json)
                        for item in record.history.item
                    }
                )
    return rows
