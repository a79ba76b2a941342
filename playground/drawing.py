"""How figures come onto a page."""

import streamlit as st
from matplotlib.figure import Figure

DPI = 140


def show(figure: Figure, *, pixels: int | None = None) -> None:
    """Put a figure onto the page, as wide as its column, or of some pixels.

    It is drawn once, and not sharper than a screen is: Streamlit's own settings take three times as
    long.
    """
    st.pyplot(figure, dpi=DPI, bbox_inches=None, width=pixels or "stretch")
