"""How figures come onto a page."""

import io

import streamlit as st
from matplotlib.figure import Figure

DPI = 140


def show(figure: Figure, *, pixels: int | None = None) -> None:
    """Put a figure onto the page, as wide as its column, or of some pixels.

    `st.pyplot` would lay it out twice, and draw twice as many pixels as a screen has there.
    """
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    st.image(file, width=pixels or "stretch")
