"""Copies of the modules that a served model needs, in a package of their own.

A model that is loaded elsewhere must not depend on this project, nor on the name of its packages:
Hugging Face has another `datasets`. The name of the copy is made of its content, so that models of
different versions can be loaded by one process.
"""

import ast
import hashlib
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = '''"""The code of a served model."""

from {package}.{module} import {name}
from {package}.harness.serving.served_model import load


def _load_pyfunc(folder):
    return load({name}, folder)
'''
"""What MLflow imports: `_load_pyfunc` is the name that it calls."""


def copy_code(served_class: type, folder: Path) -> str:
    """Copy the module of a class, and all of the project that it imports, into a new package.

    Returns:
        The name of the package, a folder in `folder` which has a `_load_pyfunc` for MLflow.

    """
    sources = {name: _path(name).read_text() for name in modules_of(served_class.__module__)}
    content = served_class.__qualname__ + "".join(f"{k}\n{v}" for k, v in sorted(sources.items()))
    package = f"served_{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    for name, source in sources.items():
        target = (folder / package / name.replace(".", "/")).with_suffix(".py")
        target.parent.mkdir(parents=True, exist_ok=True)
        first = "|".join({each.partition(".")[0] for each in sources})
        target.write_text(
            re.sub(rf"^(\s*from )(?=({first})[. ])", rf"\1{package}.", source, flags=re.M)
        )
    init = PACKAGE.format(
        package=package, module=served_class.__module__, name=served_class.__qualname__
    )
    (folder / package / "__init__.py").write_text(init)
    return package


def modules_of(module: str) -> set[str]:
    """Return a module of the project, and all others of it that are imported on its account."""
    found: set[str] = set()
    pending = {module}
    while pending:
        name = pending.pop()
        found.add(name)
        pending |= _imported(name) - found
    return found


def _imported(module: str) -> set[str]:
    """Return the modules of the project that one imports, by `from ... import ...` only."""
    names = set()
    for node in ast.walk(ast.parse(_path(module).read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = ROOT / alias.name.partition(".")[0]
                assert not first.is_dir(), f"{module}: use `from`, not `import {alias.name}`"
        elif isinstance(node, ast.ImportFrom) and node.module:
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if _path(name).is_file() else node.module for name in members}
    return {name for name in names if _path(name).is_file()}


def _path(module: str) -> Path:
    return ROOT / f"{module.replace('.', '/')}.py"
