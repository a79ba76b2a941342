"""What the tests of the playground share: each gives `__main__` back."""

import sys

import pytest


@pytest.fixture(autouse=True)
def main_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give back what Streamlit replaces: `__main__`, which every process started later imports."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
