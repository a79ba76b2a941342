"""The command `dl-experiments`, and the way to this project from any folder.

    dl-experiments moe --num-epochs 5      as `python -m experiments.moe --num-epochs 5`, anywhere
    dl-experiments --help                  all commands

`import dl_experiments` puts the clone in front of `sys.path`: its package `datasets` is then found
before another one of that name, such as Hugging Face's.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent

sys.path[:] = [str(ROOT), *(path for path in sys.path if path != str(ROOT))]


def main() -> None:
    """Carry out a command line; without the clone, say where it is to be had."""
    if not (ROOT / "experiments").is_dir():
        print(
            "error: the experiments are used from a clone of "
            "https://github.com/tracked-experiments/tracked-deep-learning-experiments; "
            "in it: pip install -e .",
            file=sys.stderr,
        )
        sys.exit(2)
    from harness.commands import main

    main(sys.argv[1:])


if __name__ == "__main__":
    main()
