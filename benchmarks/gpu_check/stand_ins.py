"""Stand-ins for the packages that training does not use, where they are not installed.

Images for GPUs often bring torch, torchvision, numpy, Pillow and pydantic, and reach no package
index. A lesson imports more than these, for its figures and tables and for tracking.
"""

import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

PACKAGES = (
    *("matplotlib", "mlflow", "optuna", "pandas", "platformdirs", "psutil", "requests"),
    *("sklearn", "sqlalchemy", "tqdm", "yaml"),
)


class _AnyAttribute(type):
    def __getattr__(cls, name: str) -> type["StandIn"]:
        if name.startswith("__"):
            raise AttributeError(name)
        return StandIn

    def __getitem__(cls, key: object) -> type["StandIn"]:
        return StandIn


class StandIn(Exception, metaclass=_AnyAttribute):  # noqa: N818
    """What an import finds: it can be called, raised, extended and asked for any attribute."""

    def __init__(self, *_: object, **__: object):
        pass


class Silent:
    """A progress bar that shows nothing."""

    def __init__(self, iterable: Iterable[Any] = (), *_: object, **__: object):
        self.iterable = iterable

    def __iter__(self) -> Iterator[Any]:
        yield from self.iterable

    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, *_: object, **__: object) -> None:
        """Do nothing."""

    close = set_description = set_postfix = update

    @staticmethod
    def write(line: str, file: TextIO) -> None:
        """Print a line."""
        print(line, file=file, flush=True)


def user_cache_path(name: str) -> Path:
    """Return the folder in which files are kept on Linux, where GPUs are."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / name


WORKING = {"tqdm": Silent, "user_cache_path": user_cache_path}
"""What training does use, by its name in the package that is missing."""


class StandIns(MetaPathFinder, Loader):
    """Finds the packages of these names, and modules in them, empty."""

    def __init__(self, names: Sequence[str]):
        self.names = names

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        """Return how a module is loaded: by this."""
        is_one = name.partition(".")[0] in self.names
        return ModuleSpec(name, self, is_package=True) if is_one else None

    def exec_module(self, module: ModuleType) -> None:
        """Let a module have every name that is asked for."""

        def get(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return WORKING.get(name, StandIn)

        module.__getattr__ = get  # type: ignore[method-assign]


def stand_in() -> tuple[str, ...]:
    """Put stand-ins in the place of packages that are not installed; return their names."""
    missing = tuple(name for name in PACKAGES if importlib.util.find_spec(name) is None)
    if missing:
        sys.meta_path.append(StandIns(missing))
    return missing
