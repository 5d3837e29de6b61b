"""Read what W&B logged offline, without a network: the ``.wandb`` file of a run.

Checked with wandb 0.28 and 0.31, which have no reader of their own. The file is a LevelDB log (7
bytes of header, then blocks of 32 KiB) of protobuf records. Call ``wandb.finish()`` first; the
file is complete shortly after it returns, with an exit record at its end.
"""

import json
import struct
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path

_BLOCK = 32768
_PATIENCE = 60  # seconds
_FULL, _FIRST, _LAST = 1, 2, 4


@dataclass
class Run:
    """One offline run.

    Attributes:
        folder: ``.../wandb/offline-run-DATE-ID``.
        history: What each log call sent, nested keys as dictionaries.
        config: Keys to values.
        artifacts: For each artifact its files: path inside of it to path on this disk. Tables, and
            the media in their cells, are found nowhere else.
    """

    folder: Path
    history: list = field(default_factory=list)
    config: dict = field(default_factory=dict)
    artifacts: list = field(default_factory=list)

    def values(self, key):
        """All that was logged under a key, in order."""
        return [row[key] for row in self.history if key in row]

    def media(self, value):
        """The file of a media value."""
        return self.folder / "files" / value["path"]

    def tables(self, key):
        """All tables logged under a key, in order; media cells as their bytes."""
        name = f"{key}.table.json"
        return [_table(files, name) for files in self.artifacts if name in files]


def read_run(folder):
    """Read the run in ``.../wandb/offline-run-DATE-ID``, waiting until its file is complete."""
    run = Run(Path(folder))
    for record in _finished(next(run.folder.glob("*.wandb"))):
        match record.WhichOneof("record_type"):
            case "history":
                run.history.append(_merge({}, record.history.item))
            case "config":
                _merge(run.config, record.config.update)
            case "run":
                _merge(run.config, record.run.config.update)
            case "artifact":
                contents = record.artifact.manifest.contents
                run.artifacts.append({e.path: _staged(run, e.local_path) for e in contents})
    return run


def _staged(run, path):
    """The file of an artifact: staged in the run's folder, which may have been copied."""
    return run.folder / "artifacts" / "staging" / Path(path).name


def _finished(path):
    deadline = time.monotonic() + _PATIENCE
    while True:
        found = list(records(path))
        if any(record.WhichOneof("record_type") == "exit" for record in found):
            return found
        assert time.monotonic() < deadline, f"{path} has no exit record: was wandb.finish() called?"
        time.sleep(0.05)


def records(path):
    """Yield every Record that a ``.wandb`` file has so far."""
    from wandb.proto.wandb_internal_pb2 import Record

    for message in _messages(Path(path).read_bytes()):
        record = Record()
        record.ParseFromString(message)
        yield record


def _messages(data):
    if len(data) < 7:
        return
    mark, magic, _ = struct.unpack("<4sHB", data[:7])
    assert (mark, magic) == (b":W&B", 0xBEE1), "not a .wandb file"
    position, message = 7, b""
    while position + 7 <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < 7:  # the end of a block is filled up with zeros
            position += left
            continue
        checksum, size, kind = struct.unpack("<IHB", data[position : position + 7])
        if kind == size == 0:
            return
        chunk = data[position + 7 : position + 7 + size]
        if len(chunk) < size:  # still being written
            return
        assert zlib.crc32(bytes([kind]) + chunk) == checksum, f"bad checksum at byte {position}"
        position += 7 + size
        message = chunk if kind in (_FULL, _FIRST) else message + chunk
        if kind in (_FULL, _LAST):
            yield message


def _merge(into, items):
    for item in items:
        *parents, last = list(item.nested_key) or [item.key]
        place = into
        for key in parents:
            if not isinstance(place.get(key), dict):
                place[key] = {}
            place = place[key]
        place[last] = json.loads(item.value_json)
    return into


def _table(files, name):
    table = json.loads(files[name].read_text(encoding="utf-8"))
    table["data"] = [[_cell(files, cell) for cell in row] for row in table["data"]]
    return table


def _cell(files, cell):
    is_media = isinstance(cell, dict) and cell.get("path") in files
    return files[cell["path"]].read_bytes() if is_media else cell
