"""Compare two recordings."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Flat = dict[str, Any]
"""What is recorded of a case: value by path, such as "run 1: test/accuracy"."""


def flattened(case: Mapping[str, Any]) -> Flat:
    """Return a case's comparable values by path."""
    flat: Flat = {}
    if "error" in case:
        flat["error"] = case["error"]
    for label, run in case["runs"].items():
        flat[f"{label}: status"] = run["status"]
        flat[f"{label}: last epoch"] = run["last_epoch"]
        flat |= {f"{label}: metric {name}": value for name, value in run["metrics"].items()}
        flat |= {f"{label}: artifact {path}": True for path in run["artifacts"]}
        flat |= {f"{label}: tag {tag}": value for tag, value in run["tags"].items()}
    for version, tags in case.get("registry", {}).items():
        flat |= {f"{version}: version tag {tag}": value for tag, value in tags.items()}
    if case["output"]:
        flat["output"] = "\n".join(case["output"])
    return flat


def same(old: Any, new: Any) -> bool:
    """Whether two values are the same; not a number is the same as itself."""
    numbers = isinstance(old, float) and isinstance(new, float)
    return old == new or (numbers and math.isnan(old) and math.isnan(new))


def differences(old: Flat, new: Flat) -> list[str]:
    """Return a line for each value that differs, is missing or was added."""
    lines = []
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            lines.append(f"{name}: missing (old {old[name]!r})")
        elif name not in old:
            lines.append(f"{name}: added (new {new[name]!r})")
        elif not same(old[name], new[name]):
            lines.append(f"{name}: old {old[name]!r}, new {new[name]!r}")
    return lines


def compare(old_path: Path, new_path: Path, names: Sequence[str]) -> int:
    """Print how two recordings differ; return 1 if they do, and 0 if they are identical."""
    old, new = (json.loads(path.read_text()) for path in (old_path, new_path))
    chosen = [name for name in dict.fromkeys([*old, *new]) if not names or name in names]
    different = 0
    for name in chosen:
        if name not in new or name not in old:
            print(f"{name}: {'added' if name in new else 'missing'}")
            different += 1
            continue
        before, after = flattened(old[name]), flattened(new[name])
        lines = differences(before, after)
        kinds = [key.partition(": ")[2].partition(" ")[0] for key in before]
        counts = f"{kinds.count('metric')} metrics, {kinds.count('artifact')} artifacts"
        if lines:
            different += 1
            print("\n    ".join([f"{name}: {len(lines)} differences", *lines]))
        elif "error" in before:
            print(f"{name}: identical, but it failed in both: {before['error']}")
        else:
            print(f"{name}: identical ({counts})")
    print(f"{len(chosen) - different} of {len(chosen)} cases are identical")
    return int(different > 0)
