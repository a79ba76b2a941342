"""What `make` does, for systems without it: Python 3.11 or newer is all that it needs.

python make.py moe         train the mixture of experts and track the run, as `make moe`
python make.py test        run the tests, as `make test`
python make.py ui          browse the runs at http://localhost:5000
python make.py install     create .venv with everything; the others do so by themselves
python make.py COMMAND     any command of `dl-experiments`, with its parameters
python make.py --help      this, and once installed all commands
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PROGRAMS = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = PROGRAMS / ("python.exe" if os.name == "nt" else "python")
INSTALLED = VENV / ".installed"
"""As old as the last installation, which holds until pyproject.toml is changed."""
OLDEST_PYTHON = (3, 11)
FAST_TESTS = ["-n", "2", "--dist", "worksteal", "-m", "not slow and not gpu"]


def main(name: str = "", *arguments: str) -> int:
    """Carry out a command in .venv, and return its exit status."""
    if sys.version_info < OLDEST_PYTHON:
        print("error: needs Python 3.11 or newer, not " + sys.version.split()[0], file=sys.stderr)
        return 2
    if name in ("", "-h", "--help"):
        print(__doc__)
        return python("-m", "dl_experiments", "--help") if INSTALLED.exists() else 0
    install()
    if name == "install":
        return 0
    if name == "test":
        return python("-m", "pytest", *(arguments or FAST_TESTS))
    return python("-m", "dl_experiments", name, *arguments)


def install() -> None:
    """Create .venv, and install the project into it, where that is not done already."""
    if INSTALLED.exists() and INSTALLED.stat().st_mtime >= Path("pyproject.toml").stat().st_mtime:
        return
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    python("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv", check=True)
    words = ["--quiet", "--python", str(PYTHON), "--editable", ".[dev]"]
    python("-m", "uv", "pip", "install", *words, check=True)
    INSTALLED.touch()


def python(*arguments: str, check: bool = False) -> int:
    """Run the Python of .venv with the programs beside it on the path; return its exit status.

    Raises:
        subprocess.CalledProcessError: it fails, and that is to be checked.

    """
    environment = {**os.environ, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ.get('PATH', '')}"}
    # Imports of torch and mlflow take twice as long where byte code is not kept.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        return subprocess.run([PYTHON, *arguments], env=environment, check=check).returncode
    except KeyboardInterrupt:  # the command has got it, too, and has ended its run
        return 130


if __name__ == "__main__":
    os.chdir(ROOT)
    try:
        sys.exit(main(*sys.argv[1:]))
    except subprocess.CalledProcessError as error:  # it has said why
        sys.exit(error.returncode)
