"""What others need to use, cite and change the project: licence, forms, workflow, container."""

import email
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

import make
from harness.commands import commands
from harness.project import distribution
from tests.conftest import ROOT

GITHUB = ROOT / ".github"
FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml"))
WORKFLOW = GITHUB / "workflows/tests.yml"


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_licence_is_mit() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert text.startswith("MIT License\n\nCopyright (c) 2026 the authors\n")
    assert distribution()["license"] == "MIT"
    assert distribution()["license-files"] == ["LICENSE"]


def test_the_citation_is_complete() -> None:
    """The required keys of Citation File Format 1.2.0, and the version of this project."""
    citation = read(ROOT / "CITATION.cff")
    assert {"authors", "cff-version", "message", "title"} <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] in ("software", "dataset")
    assert all({"name"} == set(author) for author in citation["authors"])
    project = distribution()
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert citation["repository-code"] == project["urls"]["Repository"]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_an_issue_form_has_what_github_requires(path: Path) -> None:
    form = read(path)
    if path.name == "config.yml":
        for link in form["contact_links"]:
            assert set(link) == {"name", "url", "about"}
            prefix = f"{distribution()['urls']['Repository']}/blob/main/"
            assert (ROOT / link["url"].removeprefix(prefix)).is_file()
        return
    assert {"name", "description", "body"} <= set(form)
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids))
    for field in form["body"]:
        assert field["type"] in ("textarea", "input", "checkboxes")
        assert field["attributes"]["label"]
        assert field["type"] != "checkboxes" or field["attributes"]["options"][0]["label"]


def test_a_bug_report_asks_for_what_is_needed() -> None:
    text = (GITHUB / "ISSUE_TEMPLATE/bug_report.yml").read_text()
    assert "dl-experiments --version" in text
    assert "python -m experiments.doctor" in text


def steps() -> list[str]:
    """Return every command of the workflow."""
    jobs = read(WORKFLOW)["jobs"]
    return [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]


def test_the_workflow_is_well_formed() -> None:
    workflow = read(WORKFLOW)
    assert set(workflow[True]) == {"push", "pull_request"}  # YAML 1.1 takes `on` for true
    assert workflow["permissions"] == {"contents": "read"}
    assert set(workflow["jobs"]) == {"linux", "macos", "windows", "docker"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"]
        assert job["steps"][0]["uses"].startswith("actions/checkout@")
        assert all(len({"uses", "run"} & set(step)) == 1 for step in job["steps"])


@pytest.mark.parametrize("command", steps())
def test_a_command_of_the_workflow_exists(command: str) -> None:
    words = shlex.split(command)
    match words:
        case [".ci/run"]:
            assert os.access(ROOT / ".ci/run", os.X_OK)
        case ["python", "make.py", name, *arguments]:
            assert name == "test" or name in commands()
            assert name != "test" or all((ROOT / path).exists() for path in arguments)
        case ["docker", "run", "--rm", tag, *command_in_it]:
            assert f"docker build --tag {tag} ." in steps()
            assert command_in_it in ([], ["make", "test"])
        case _:
            assert words[:2] == ["docker", "build"]


def test_the_container_has_what_its_installation_reads() -> None:
    """The files that are copied before the others suffice to install, and none is left out."""
    text = (ROOT / "Dockerfile").read_text()
    (copied,) = re.findall(r"^COPY --chown=\w+ (pyproject.*) \./$", text, re.M)
    project = distribution()
    needed = {"pyproject.toml", "Makefile", "make.py", "dl_experiments.py", project["readme"]}
    assert set(copied.split()) == needed | set(project["license-files"])
    assert re.search(r"^FROM python:3\.12-slim$", text, re.M)
    assert text.index("USER learner") < text.index("RUN make install")
    assert 'CMD ["make", "moe"]' in text
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    tracked = ("docs", "tests", ".github", ".ci", "datasets", "Makefile")
    assert not set(ignored) & {*tracked, *copied.split()}


def test_make_needs_a_recent_python(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 13))
    assert make.main("moe") == 2
    assert capsys.readouterr().err.startswith("error: needs Python 3.11 or newer, not ")
    assert distribution()["requires-python"] == f">={'.'.join(map(str, make.OLDEST_PYTHON))}"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["moe", "--seed", "1"], ["-m", "dl_experiments", "moe", "--seed", "1"]),
        (["ui", "--port", "5001"], ["-m", "dl_experiments", "ui", "--port", "5001"]),
        (["test"], ["-m", "pytest", *make.FAST_TESTS]),
        (["test", "tests/models"], ["-m", "pytest", "tests/models"]),
    ],
)
def test_make_runs_in_the_environment_that_it_makes(
    words: list[str], expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installed once, and again where pyproject.toml has changed; the exit status is passed on."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(make, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(make, "INSTALLED", tmp_path / ".venv/.installed")
    monkeypatch.setattr(make, "PYTHON", tmp_path / ".venv/bin/python")
    done: list[list[str]] = []

    def run(command: list[Any], **options: Any) -> "subprocess.CompletedProcess[str]":
        done.append([str(word) for word in command[1:]])
        (tmp_path / ".venv").mkdir(exist_ok=True)
        return subprocess.CompletedProcess(command, 7 if done[-1] == expected else 0)

    monkeypatch.setattr(subprocess, "run", run)
    assert make.main(*words) == 7
    installing, pip, uv, command = done
    assert installing[:2] == ["-m", "venv"]
    assert (pip[-1], uv[-1], command) == ("uv", ".[dev]", expected)
    assert make.main(*words) == 7
    assert done[4:] == [expected], "installed already"
    os.utime(tmp_path / "pyproject.toml", (2**32, 2**32))
    make.main(*words)
    assert len(done) > 6, "pyproject.toml is newer"


def test_make_and_the_makefile_are_of_one_mind() -> None:
    """What is installed, and which tests are run, stands in make.py alone."""
    recipes = (ROOT / "Makefile").read_text()
    assert "$(PYTHON) make.py install" in recipes
    assert "python make.py test" in recipes
    assert "uv pip" not in recipes
    assert '"not slow' not in recipes


@pytest.mark.slow
def test_a_wheel_has_one_module_and_an_editable_installation_the_clone(tmp_path: Path) -> None:
    """Neither may put packages called `datasets` and `models` among those of others."""
    script = """
import json, sys
from setuptools import build_meta
folder = sys.argv[1]
print(json.dumps([build_meta.build_wheel(folder + "/wheel"),
    build_meta.build_editable(folder + "/editable"), build_meta.build_sdist(folder)]))
"""
    clone = tmp_path / "clone"
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=clone, capture_output=True, text=True, check=True,
    )  # fmt: skip
    wheel, editable, source = json.loads(done.stdout.splitlines()[-1])
    with zipfile.ZipFile(tmp_path / "wheel" / wheel) as archive:
        files = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        about = email.message_from_bytes(archive.read(metadata))
    assert files == {"dl_experiments.py"}
    assert about["License-Expression"] == "MIT"
    assert about["License-File"] == "LICENSE"
    with zipfile.ZipFile(tmp_path / "editable" / editable) as archive:
        (path,) = [name for name in archive.namelist() if ".dist-info/" not in name]
        assert path.endswith(".pth")
        assert archive.read(path).decode().split() == [str(clone)]
        (scripts,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert b"dl-experiments = dl_experiments:main" in archive.read(scripts)
    with tarfile.open(tmp_path / source) as archive:
        assert not any("/datasets/" in name for name in archive.getnames())
