"""What a run records of the code: the commit, and the changes since."""

import subprocess
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from harness.run_experiment import run_experiment
from harness.tracking.git import DIFF, MAX_CHARACTERS, uncommitted_changes
from tests.harness.runs import only_run
from tests.harness.small import EXPERIMENT, SmallConfig

pytestmark = pytest.mark.usefixtures("no_model")


@pytest.fixture
def project(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let a repository with one commit be the project."""
    folder = tmp_path_factory.mktemp("project")
    monkeypatch.setattr("harness.tracking.git.ROOT", folder)
    (folder / "lesson.py").write_text("one\n")
    for arguments in ("init -q", "add .", "-c user.name=a -c user.email=a@b commit -q -m first"):
        subprocess.run(["git", *arguments.split()], cwd=folder, check=True)
    return folder


def test_changes_since_the_commit_are_logged_once(store: Path, project: Path) -> None:
    run_experiment(EXPERIMENT, SmallConfig(num_epochs=1))
    assert not list(store.rglob(DIFF))
    (project / "lesson.py").write_text("two \udcff\n", errors="surrogateescape")
    (project / "notes.txt").write_text("a secret\n")
    run_experiment(EXPERIMENT, SmallConfig(num_epochs=1, seeds=2))
    (path,) = store.rglob(DIFF)
    parent = MlflowClient().get_run(path.parts[-4])
    assert "mlflow.parentRunId" not in parent.data.tags
    logged = path.read_text()
    assert {"-one", "+two \\xff", "# new, content not recorded: notes.txt"} <= {*logged.split("\n")}
    assert "a secret" not in logged


def test_a_diff_can_be_applied_to_the_commit(project: Path) -> None:
    (project / "lesson.py").write_text("two\n")
    (project / "new.txt").touch()
    diff = uncommitted_changes()
    subprocess.run(["git", "checkout", "-q", "lesson.py"], cwd=project, check=True)
    subprocess.run(["git", "apply"], cwd=project, check=True, input=diff, text=True)
    assert (project / "lesson.py").read_text() == "two\n"


def test_a_long_diff_is_cut(project: Path) -> None:
    (project / "lesson.py").write_text("two\n" * 1_000_000)
    diff = uncommitted_changes()
    assert len(diff) < MAX_CHARACTERS + 100
    assert diff.endswith("# cut off here, after 1,000,000 characters\n")


def test_a_project_without_git_has_no_diff(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.tracking.git.ROOT", tmp_path)
    run_experiment(EXPERIMENT, SmallConfig(num_epochs=1))
    assert only_run().data.tags["git_commit"] == "unknown"
    assert not list(store.rglob(DIFF))
