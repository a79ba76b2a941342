"""Hashes of the contents of files, which are remembered for as long as the files do not change."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

SETTLED_NS = 2_000_000_000
"""A file that changed later than this before it was read could change again with the same times."""


def hash_file(path: Path) -> str:
    """Return a hash of the content of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def fingerprint(hashes: Mapping[str, str]) -> str:
    """Return a hash of files, from hashes of their contents by their names, in any order."""
    lines = sorted(f"{content} {name}\n" for name, content in hashes.items())
    return hashlib.sha256(os.fsencode("".join(lines))).hexdigest()[:16]


def hash_files(root: Path, names: Sequence[str], cache: Path) -> dict[str, str]:
    """Return hashes of the contents of files, by their paths within a folder.

    A file is read again only if its size or one of its times is not as it was. What is known of
    files is kept in the folder `cache`, if that can be written to.
    """
    of_root = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    record = cache / f"hashes-{of_root}.json"
    known = _read(record)
    now = time.time_ns()
    states = {name: _state(root / name) for name in names}
    changed = [name for name, state in states.items() if known.get(name, [])[:-1] != state]
    with ThreadPoolExecutor() as pool:  # hashing releases the global interpreter lock
        new = dict(
            zip(changed, pool.map(lambda name: hash_file(root / name), changed), strict=True)
        )
    settled = {
        name: [*states[name], content]
        for name, content in new.items()
        if max(states[name][1:]) < now - SETTLED_NS
    }
    if settled:
        _write(record, known | settled)
    return {name: new[name] if name in new else known[name][-1] for name in names}


def _state(path: Path) -> list[int]:
    """Return what changes whenever a file does: its size, and the times of content and entry."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _read(record: Path) -> dict[str, list[Any]]:
    """Return state and hash of each file of a record; nothing if it is missing or damaged."""
    try:
        files = json.loads(record.read_text(encoding="utf-8"))["files"]
        return {str(name): list(known) for name, known in files.items() if len(known) == 4}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write(record: Path, files: Mapping[str, Sequence[Any]]) -> None:
    new = record.with_name(f".{record.name}.{os.getpid()}")
    with contextlib.suppress(OSError):  # without a record, they are hashed again
        record.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(json.dumps({"files": files}))
        new.replace(record)
