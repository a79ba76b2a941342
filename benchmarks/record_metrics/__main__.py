"""Record the metrics of a short run of every entry point, and compare two recordings.

    python -m benchmarks.record_metrics OUT.json                  record all cases
    python -m benchmarks.record_metrics OUT.json --only moe tune  record some of them
    python -m benchmarks.record_metrics --compare OLD.json NEW.json

On a CPU a seed gives the same numbers to the last bit, so a change to the code that is meant to
change no result can be checked: record before and after, and compare. Both recordings have to be
made on the same machine with the same versions of the libraries. Each case is run from the command
line in processes of its own, with one thread; --jobs 2 runs two cases at a time.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.record_metrics.cases import CASES
from benchmarks.record_metrics.comparison import compare
from benchmarks.record_metrics.recorder import record


def main() -> int:
    """Do what the command line asks, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, help="file to record into")
    parser.add_argument(
        "--compare", nargs=2, type=Path, metavar=("OLD", "NEW"), help="compare two recordings"
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", choices=CASES, help="cases (default: all)"
    )
    parser.add_argument("--jobs", type=int, choices=(1, 2), default=1, help="cases at a time")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(CASES))
        return 0
    if arguments.compare:
        old, new = arguments.compare
        return compare(old, new, arguments.only)
    if arguments.out is None:
        parser.error("a file to record into is needed, or --compare OLD NEW")
    return record(arguments.out, arguments.only or list(CASES), arguments.jobs)


if __name__ == "__main__":
    sys.exit(main())
