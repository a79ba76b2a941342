"""The frame of the playground, without a browser."""

import importlib.util
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import experiments
from harness.errors import UserError
from playground.__main__ import APP, main
from playground.app import PAGES, entry


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_says_what_to_try_on_an_architecture(path: Path) -> None:
    assert path.stem in experiments.names()
    page = entry(path)
    assert ": " in page.title
    assert "?" in page.text
    assert "**Try:**" in page.text


def test_the_first_page_names_every_page() -> None:
    app = AppTest.from_file(str(APP), default_timeout=60).run()
    assert not app.exception
    shown = [text.value for text in app.markdown]
    assert {entry(path).text for path in PAGES} <= set(shown)


def test_without_streamlit_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install -e "\.\[playground\]"$'):
        main()
