"""Names of a package that are imported when they are first used."""

import importlib
from collections.abc import Callable
from typing import Any


def lazy(package: str, **modules: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package (PEP 562): by name, the module that defines it.

    A command can then read its configuration without waiting for torch.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)

    return get
