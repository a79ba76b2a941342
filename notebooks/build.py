"""Execute the notebooks: each NAME.py becomes NAME.ipynb beside it, with its outputs.

    python -m notebooks.build                   all of them
    python -m notebooks.build moe rnn           some
    python -m notebooks.build --check           say which are not those of their sources

The sources are text (jupytext's percent format), which is what is edited and reviewed. What would
make a notebook differ from build to build is left out of it: paths, times, identifiers, widgets.
"""

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path

import jupytext
from mlflow import MlflowClient
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from nbformat import v4 as nbformat

FOLDER = Path(__file__).parent
WIDGET = "application/vnd.jupyter.widget-view+json"


def sources() -> list[Path]:
    """Return the sources of all notebooks, those of the solutions last."""
    found = [*sorted(FOLDER.glob("*.py")), *sorted((FOLDER / "solutions").glob("*.py"))]
    return [path for path in found if path.read_text().startswith("# %% ")]


def read(source: Path) -> NotebookNode:
    """Return the notebook of a source, without outputs."""
    notebook: NotebookNode = jupytext.read(source, fmt="py:percent")
    return notebook


def execute(notebook: NotebookNode, source: Path, store: Path) -> None:
    """Run all cells in a fresh kernel, as Jupyter does that is started in the notebook's folder.

    The cells get their outputs. What is tracked goes to an MLflow store in the folder `store`.

    Raises:
        CellExecutionError: a cell raises an exception.

    """
    tracking_uri = f"sqlite:///{store}/mlflow.db"
    artifacts = (store / "artifacts").as_uri()  # by default, below the folder that the cells are in
    MlflowClient(tracking_uri).create_experiment(source.stem, artifacts)
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": tracking_uri,
        "OMP_NUM_THREADS": "1",  # another number of threads gives other last digits
    }
    environment.pop("PYTHONPATH", None)  # the first cell finds the project
    client = NotebookClient(
        notebook,
        timeout=600,  # seconds, of each cell
        kernel_name="python3",
        resources={"metadata": {"path": str(source.parent)}},
        record_timing=False,
        coalesce_streams=True,
    )
    client.execute(env=environment)


def shrink(notebook: NotebookNode) -> None:
    """Let every configuration that a cell makes have the `tiny` values of its class, for tests."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            names = re.findall(r"^(\w+) = \w+Config\(", cell.source, re.MULTILINE)
            cell.source += "".join(f"\n{name} = {name}.replace(**{name}.tiny)" for name in names)


def clean(notebook: NotebookNode) -> None:
    """Leave of an executed notebook what is the same at every execution, and on every machine."""
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{number}"
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if is_kept(output)]
            for output in cell.outputs:
                if "text" in output:  # identifiers of runs
                    output.text = re.sub(r"\b[0-9a-f]{32}\b", 32 * "0", output.text)
                output.get("data", {}).pop("image/jpeg", None)  # beside the same as PNG
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }


def is_kept(output: NotebookNode) -> bool:
    """Return whether an output is neither a progress bar nor what libraries say on stderr."""
    return output.get("name") != "stderr" and WIDGET not in output.get("data", {})


def is_up_to_date(source: Path) -> bool:
    """Return whether the cells of an executed notebook are those of its source."""
    path = source.with_suffix(".ipynb")
    return path.is_file() and cells(jupytext.read(path)) == cells(read(source))


def cells(notebook: NotebookNode) -> list[tuple[str, str]]:
    """Return kind and source of each cell."""
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def build(source: Path) -> None:
    """Execute a notebook and write it with its outputs; its runs are not kept."""
    notebook = read(source)
    with tempfile.TemporaryDirectory() as store:
        execute(notebook, source, Path(store))
    clean(notebook)
    text = nbformat.writes(notebook)
    source.with_suffix(".ipynb").write_text(f"{text}\n")


def main() -> None:
    """Build the notebooks that are named, or check all."""
    parser = argparse.ArgumentParser(prog="python -m notebooks.build", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    known = {str(path.relative_to(FOLDER).with_suffix("")): path for path in sources()}
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--check", action="store_true", help="execute nothing")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(known):
        parser.error(f"no notebook {', '.join(sorted(unknown))}: there are {', '.join(known)}")
    for name in arguments.names or known:
        if not arguments.check:
            print(f"executing {name}", flush=True)
            try:
                build(known[name])
            except CellExecutionError as error:
                sys.exit(f"{name}: {error}")
        elif not is_up_to_date(known[name]):
            sys.exit(f"{name}.ipynb is not that of {name}.py: run `make notebooks`")


if __name__ == "__main__":
    main()
