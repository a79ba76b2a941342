"""Texts of users in figures: names of classes and groups, symbols, text, in letters of any script.

A letter that the font of the figures lacks is taken from another installed font. Where none has it,
it is spelled in Latin letters, if its Unicode name tells how it sounds, or as its code.
"""

import bisect
import functools
import itertools
import re
import unicodedata
from collections.abc import Iterable, Sequence

from matplotlib import font_manager
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FT2Font

LONGEST_NAME = 28

_in_use = ["sans-serif"]
"""Families of which letters are taken, in the order in which they are asked."""


def short(name: str, longest: int = LONGEST_NAME) -> str:
    """Return a name as `literal` does, and shortened to what finds room beside a figure.

    The longest is measured in letters of the Latin alphabet; those of Hangul, say, are two wide.
    """
    drawn = _letters(name or "(empty)")
    ends = list(itertools.accumulate(map(width, drawn)))
    if ends[-1] > longest:
        drawn = [*drawn[: bisect.bisect_left(ends, longest)], "…"]
    return _visible("".join(drawn))


def width(text: str) -> int:
    """Return about how wide a text is drawn, in letters of the Latin alphabet."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def literal(text: str) -> str:
    """Return a text such that matplotlib draws it in one line and as it is, without a warning."""
    return _visible("".join(_letters(text)))


def _letters(text: str) -> list[str]:
    return list(map(_drawn, unicodedata.normalize("NFC", text)))


def _visible(drawn: str) -> str:
    """Matplotlib leaves names that begin with an underscore out of legends."""
    return f" {drawn}" if drawn.startswith("_") else drawn


def families(own: Iterable[str]) -> list[str]:
    """Return the families of a text: its own, then those that have the other letters in use."""
    return list(dict.fromkeys([*own, *_in_use]))


@functools.cache
def _drawn(letter: str) -> str:
    if letter == "$":
        return r"\$"  # no formula
    if letter.isspace():
        return " "
    if letter.isprintable():
        for family, font in _fonts():
            if font.get_char_index(ord(letter)):
                if family not in _in_use:
                    _in_use.append(family)
                return letter
        # HANGUL SYLLABLE GO, HIRAGANA LETTER KA
        sound = re.search(r"(?:SYLLABLE|LETTER) (\w+)$", unicodedata.name(letter, ""))
        if sound:
            return sound[1].lower()
    return letter.encode("unicode_escape").decode()


@functools.cache
def _fonts() -> Sequence[tuple[str, FT2Font]]:
    """Return an upright font of regular weight of each installed family, that of figures first."""
    usual = font_manager.findfont(FontProperties(family=["sans-serif"]))
    fonts = {"sans-serif": font_manager.get_font(usual)}
    for entry in sorted(font_manager.fontManager.ttflist, key=lambda entry: entry.name):
        is_regular = entry.style == "normal" and entry.weight in (400, "normal")
        # The font of last resort has a box for any letter.
        if not is_regular or entry.name in fonts or entry.name.startswith("Last Resort"):
            continue
        font = font_manager.get_font(font_manager.FontPath(entry.fname, entry.index))
        if font.scalable:  # others are of bitmaps in one size
            fonts[entry.name] = font
    return list(fonts.items())
