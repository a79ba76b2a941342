"""The solutions of the notebooks' exercises reach their conclusions, which they assert."""

from pathlib import Path

import pytest

from notebooks import build

SOLUTIONS = {path.stem: path for path in build.sources() if path.parent != build.FOLDER}


@pytest.mark.slow
@pytest.mark.parametrize("name", SOLUTIONS)
def test_the_solutions_reach_their_conclusions(name: str, store: Path) -> None:
    build.execute(build.read(SOLUTIONS[name]), SOLUTIONS[name], store)
