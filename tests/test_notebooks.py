"""The notebooks: those with outputs are those of their sources, and all run from top to bottom."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import numpy
import pytest
from nbformat import NotebookNode

import experiments
from harness.command_line import parse
from harness.figures import style
from harness.training.train import train
from notebooks import build
from tests.conftest import ROOT

SOURCES = {str(path.relative_to(build.FOLDER).with_suffix("")): path for path in build.sources()}
LESSONS = [name for name in SOURCES if "/" not in name]
MAX_BYTES = 1_500_000


def executed(name: str) -> NotebookNode:
    notebook: NotebookNode = nbformat.read(SOURCES[name].with_suffix(".ipynb"), as_version=4)
    return notebook


def outputs(name: str) -> list[NotebookNode]:
    return [each for cell in executed(name).cells for each in cell.get("outputs", [])]


def setup_of(name: str) -> str:
    """Return the first cell of code."""
    return next(str(c.source) for c in build.read(SOURCES[name]).cells if c.cell_type == "code")


def test_every_architecture_has_a_notebook_and_solutions() -> None:
    families = {experiments.find(name).config_class.family for name in experiments.names()}
    assert set(LESSONS) == families
    assert set(SOURCES) == {*LESSONS, *(f"solutions/{name}" for name in LESSONS)}


@pytest.mark.parametrize("name", SOURCES)
def test_a_notebook_is_that_of_its_source(name: str) -> None:
    assert build.is_up_to_date(SOURCES[name]), "run `make notebooks`"


@pytest.mark.parametrize("suffix", [".py", ".ipynb"])
def test_what_is_edited_alone_is_noticed(tmp_path: Path, suffix: str) -> None:
    source = SOURCES["moe"]
    for path in (source, source.with_suffix(".ipynb")):
        shutil.copy(path, tmp_path)
    copy = tmp_path / source.name
    assert build.is_up_to_date(copy)
    edited = copy.with_suffix(suffix)
    text = edited.read_text()
    edited.write_text(text.replace("num_experts=2", "num_experts=3"))
    assert edited.read_text() != text
    assert not build.is_up_to_date(copy)


@pytest.mark.parametrize("name", SOURCES)
def test_the_outputs_are_there_and_say_nothing_of_the_machine(name: str) -> None:
    path = SOURCES[name].with_suffix(".ipynb")
    assert path.stat().st_size < MAX_BYTES
    code = [cell for cell in executed(name).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    kinds = {(each.output_type, each.get("name", "")) for each in outputs(name)}
    assert kinds == {("stream", "stdout"), ("display_data", "")}
    figures = [each.data for each in outputs(name) if "image/png" in each.get("data", {})]
    assert len(figures) >= (6 if name in LESSONS else 1)
    texts = [str(each.get("text") or each.data.get("text/plain")) for each in outputs(name)]
    assert not re.search(r"(?<!\w)/(home|root|tmp|usr|work|Users)/|[A-Z]:\\| at 0x", "".join(texts))


@pytest.mark.parametrize("name", SOURCES)
def test_a_notebook_can_be_opened_and_fetched_from_one_address(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    address = project["urls"]["Repository"]
    assert setup_of(name) == setup_of("moe")
    assert f'"{address}"' in setup_of(name)
    badge = f"{address.removeprefix('https://github.com')}/blob/main/notebooks/{name}.ipynb"
    assert (badge in SOURCES[name].read_text()) == (name in LESSONS)


@pytest.mark.parametrize("name", SOURCES)
def test_links_of_a_notebook_lead_somewhere(name: str) -> None:
    text = "\n".join(c.source for c in build.read(SOURCES[name]).cells if c.cell_type == "markdown")
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if "://" not in link:
            page, _, anchor = link.partition("#")
            target = SOURCES[name].parent / page
            assert target.is_file(), link
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.M) if anchor else []
            assert not anchor or anchor in {h.lower().replace(" ", "-") for h in headings}, link


def test_every_exercise_has_a_solution() -> None:
    for name in LESSONS:
        exercises = SOURCES[name].read_text().split("## Exercises")[1]
        solutions = SOURCES[f"solutions/{name}"].read_text()
        numbers = re.findall(r"^# (\d)\. \*\*", exercises, re.M)
        assert len(numbers) in range(5, 8)
        assert sorted(re.findall(r"^# ## (\d) ", solutions, re.M)) == numbers
        assert exercises.count("*Teaches") == len(numbers)
        assert re.search(r"^assert ", solutions, re.M)


def test_a_figure_is_shown_without_pyplot() -> None:
    figure, _ = style.canvas(width=4, height=3)
    signature, header = figure._repr_png_()[:8], figure._repr_png_()[16:24]  # type: ignore[attr-defined]
    assert signature == b"\x89PNG\r\n\x1a\n"
    assert numpy.frombuffer(header, ">u4").tolist() == [440, 330]


@pytest.mark.slow
@pytest.mark.parametrize("name", LESSONS)
def test_a_notebook_runs_and_has_the_numbers_of_the_command_line(name: str, store: Path) -> None:
    notebook = build.read(SOURCES[name])
    build.shrink(notebook)
    report = "import json\nprint(json.dumps([config.as_command(), evaluation.metrics]))"
    notebook.cells.append(nbformat.v4.new_code_cell(report))
    build.execute(notebook, SOURCES[name], store)
    command, metrics = json.loads(notebook.cells[-1].outputs[0].text)
    experiment = experiments.find(name)
    config = parse(experiment.config_class, command.split()[3:])
    trained = train(experiment, config)
    assert metrics == experiment.evaluate(config, trained, trained.data.test).metrics
    assert any("widget-view" in str(cell.get("outputs")) for cell in notebook.cells)  # a bar


@pytest.mark.slow
def test_the_first_cell_fetches_the_project_where_it_is_not(tmp_path: Path) -> None:
    code = f"{setup_of('moe')}\nimport experiments.moe\nprint(experiments.moe.__file__)"
    # Without -S, what is installed for development would be found.
    packages = str(Path(numpy.__file__).parents[1])
    environment = os.environ | {"REPOSITORY": str(ROOT), "PYTHONPATH": packages}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()) == tmp_path / ROOT.name / "experiments/moe/__init__.py"
