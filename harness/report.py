"""A report in one HTML file, which needs no other file: text, table and pictures.

MLflow shows it among the artifacts, some 900 pixels wide. A click enlarges a picture to the whole
width, without a script.
"""

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import zip_longest

from jinja2 import Environment
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """A PNG with its caption."""

    caption: str
    png: bytes

    @classmethod
    def of(cls, caption: str, figure: Figure) -> "Picture":
        """Return a figure as a picture."""
        buffer = BytesIO()
        figure.savefig(buffer, format="png")
        return cls(caption, buffer.getvalue())

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


@dataclass(frozen=True)
class Column:
    """One of the runs that stand side by side."""

    heading: str
    name: str
    run_id: str
    command: str
    """Repeats the run; empty where it is not known."""
    pictures: Sequence[Picture]
    note: str = ""
    """Below the pictures."""


@dataclass(frozen=True)
class Report:
    """The content of a report, from top to bottom; the notes are paragraphs below the title."""

    title: str
    notes: Sequence[str]
    headings: Sequence[str]
    """Of the table's columns; the first holds text, the others numbers."""
    rows: Sequence[Sequence[str]]
    figures: Sequence[Picture]
    columns: Sequence[Column]

    def html(self) -> str:
        """Return the file's content; all text is escaped."""
        return _TEMPLATE.render(report=self, rows_of_pictures=_aligned(self.columns))


def _aligned(columns: Sequence[Column]) -> list[list[Picture | None]]:
    """Return rows of pictures: those that several columns have, then the others in their order."""
    by_caption = [{picture.caption: picture for picture in each.pictures} for each in columns]
    counts = Counter(caption for pictures in by_caption for caption in pictures)
    shared = [caption for caption, count in counts.items() if count > 1]
    rows = [[pictures.pop(caption, None) for pictures in by_caption] for caption in shared]
    return rows + [list(row) for row in zip_longest(*(each.values() for each in by_caption))]


_TEMPLATE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{ report.title }}</title>
<style>
body { margin: 1.5rem auto; padding: 0 1rem; max-width: 1400px; background: #fff; color: #222;
       font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .5rem; border-bottom: 1px solid #ddd; text-align: right; }
th { vertical-align: bottom; } td { white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere;
                                 min-width: 10rem; }
tbody tr:first-child { font-weight: 600; }
figure { margin: 0; } figcaption, .note { color: #555; font-size: .85rem; }
img { width: 100%; height: auto; cursor: zoom-in; }
input { position: absolute; opacity: 0; pointer-events: none; }
input:focus-visible + img { outline: 2px solid #0072B2; }
input:checked + img { position: fixed; inset: 0; margin: auto; max-width: 100vw;
                      max-height: 100vh; object-fit: contain; background: #fff; cursor: zoom-out;
                      z-index: 1; box-shadow: 0 0 0 100vmax #fff; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(380px, 1fr)); gap: 1rem; }
.runs { display: grid; gap: .8rem 1rem; align-items: start;
        grid-template-columns: repeat({{ report.columns | length }}, minmax(260px, 1fr)); }
.runs h3 { margin: 0; font-size: 1rem; } .runs p { margin: .2rem 0; }
.runs > div { min-width: 0; overflow-wrap: anywhere; }
pre { margin: .3rem 0; padding: .4rem; background: #f4f4f4; white-space: pre-wrap;
      font-size: .75rem; }
</style>
</head>
<body>
{% macro show(picture) %}
<figure>
<label><input type="checkbox"><img src="{{ picture.uri }}" alt="{{ picture.caption }}"></label>
<figcaption>{{ picture.caption }}</figcaption>
</figure>
{% endmacro %}
<h1>{{ report.title }}</h1>
{% for note in report.notes %}<p>{{ note }}</p>{% endfor %}
<div class="wide"><table>
<thead><tr>{% for heading in report.headings %}<th>{{ heading }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in report.rows %}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
<h2>All runs</h2>
<div class="figures">{% for picture in report.figures %}{{ show(picture) }}{% endfor %}</div>
<h2>The best run of each group, side by side</h2>
<p class="note">A click enlarges a picture; another click closes it.</p>
<div class="wide"><div class="runs">
{% for column in report.columns %}
<div>
<h3>{{ column.heading }}</h3>
<p>{{ column.name }}</p>
<p class="note">run {{ column.run_id }}</p>
{% if column.command %}<pre>{{ column.command }}</pre>{% endif %}
</div>
{% endfor %}
{% for row in rows_of_pictures %}{% for picture in row %}
<div>{% if picture %}{{ show(picture) }}{% endif %}</div>
{% endfor %}{% endfor %}
{% for column in report.columns %}<div class="note">{{ column.note }}</div>{% endfor %}
</div></div>
</body>
</html>
""")
