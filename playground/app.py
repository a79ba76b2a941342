"""The frame of the playground: a first page, and one for each file in `architectures`.

A page is a script. Its docstring is a title with a colon in it, then what to try: it stands above
the page, and on the first page. (In a folder called `pages`, Streamlit would run the scripts
without this frame.)
"""

import ast
from pathlib import Path
from typing import NamedTuple

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from harness.errors import UserError

PAGES = sorted(Path(__file__).with_name("architectures").glob("*.py"))


class Entry(NamedTuple):
    """A page, and what its docstring says of it."""

    page: StreamlitPage
    title: str
    text: str


def entry(path: Path) -> Entry:
    """Return the page of a file; its address ends with the file's name."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or path.stem
    title, _, text = docstring.partition("\n")
    page = st.Page(path, title=title.partition(":")[0], url_path=path.stem)
    return Entry(page, title.rstrip("."), text.strip())


def first_page() -> None:
    """Say what there is."""
    st.title("Playground")
    st.markdown(
        "Small neural networks to ask, to provoke and to look into. Each page shows one "
        "architecture and one thing to learn about it, on a model of yours (the champion of a "
        "study, or any finished run) or on one that is trained on the spot, in seconds. Nothing "
        "leaves this machine."
    )
    for each in ENTRIES:
        with st.container(border=True):
            st.page_link(each.page, label=f"**{each.title}**")
            st.markdown(each.text)


ENTRIES = [entry(path) for path in PAGES]

st.set_page_config(layout="wide", initial_sidebar_state="expanded")
home = st.Page(first_page, title="Start", default=True)
current = st.navigation([home, *(each.page for each in ENTRIES)])
for each in ENTRIES:
    if each.page == current:
        st.header(each.title)
        st.markdown(each.text)
try:
    current.run()
except UserError as error:
    st.error(str(error))
