"""The report as a file: which pictures stand side by side."""

import re

from harness.report import Column, Picture, Report


def column(*captions: str) -> Column:
    pictures = [Picture(caption, caption.encode()) for caption in captions]
    return Column(heading="h", name="n", run_id="r", command="", pictures=pictures)


def shown(*columns: Column) -> list[str]:
    """Return the captions in the order of the file; empty places are empty strings."""
    report = Report(title="t", notes=[], headings=[], rows=[], figures=[], columns=columns)
    grid = report.html().split('class="runs"')[1]
    return re.findall(r'<div>(?:</div>|\s*<figure>.*?alt="(\w+)")', grid, re.DOTALL)


def test_the_same_pictures_of_several_runs_stand_side_by_side() -> None:
    found = shown(column("a", "curves", "b"), column("curves", "c"), column("d"))
    assert found == ["curves", "curves", "", "a", "c", "d", "b", "", ""]


def test_a_report_of_no_run_can_be_written() -> None:
    assert shown() == []
