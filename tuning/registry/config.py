"""What the command of the registry can be told."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import NonNegativeInt
from pydantic.dataclasses import dataclass

from harness.config import STRICT, Configuration, only_if


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RegistryConfig(Configuration):
    """List the registered models, register or promote one, or roll back to the one before."""

    tiny: ClassVar[Mapping[str, Any]] = {"action": "list"}
    positional: ClassVar[tuple[str, ...]] = ("action", "name")
    examples: ClassVar[tuple[str, ...]] = (
        "list",
        "register cnn --run RUN_ID",
        "promote moe --version 3",
        "rollback moe",
    )

    action: Literal["list", "register", "promote", "rollback"]
    """list, register, promote or rollback."""
    name: str = ""
    """The registered model, such as moe; list shows all of them without it."""
    run: Annotated[str, only_if(action="register")] = ""
    """register: the run whose model becomes a version; a run of several seeds, as ensemble."""
    version: Annotated[NonNegativeInt, only_if(action="promote")] = 0
    """promote: the version to make champion (0: the challenger)."""

    @classmethod
    def module(cls) -> str:  # noqa: D102
        return "tuning.registry"
