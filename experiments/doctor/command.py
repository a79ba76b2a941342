"""Close abandoned runs; delete incomplete models, and checkpoints that no run can use."""

from pathlib import Path

from platformdirs import user_cache_path

from datasets.photographs import CACHE_NAME
from experiments.doctor.config import DoctorConfig
from harness.tracking import abandoned
from harness.tracking.store import store_errors, store_lock
from harness.wording import plural


def main(config: DoctorConfig) -> None:
    """Print what was found, and fix it if that is asked for; a UserError if that fails."""
    # Under the lock no run is reopened: what was found to be abandoned still is when it is closed.
    with store_errors(), store_lock():
        findings = [
            *abandoned.abandoned_runs(),
            *abandoned.incomplete_models(),
            *abandoned.incomplete_checkpoints(),
            *abandoned.orphaned_checkpoints(),
            *abandoned.local_copies_of_checkpoints(),
        ]
        others = sum(not abandoned.owner_gone(run) for run in abandoned.runs_that_are("RUNNING"))
        finished = sum(size_of(folder) for folder in abandoned.checkpoints_of_finished_runs())
        for finding in findings:
            print(finding.description)
            if config.fix:
                finding.fix()
    print(f"{finished / 1e6:,.0f} MB of checkpoints are of finished runs: left alone")
    print(f"{plural(others, 'run')} in progress, or another machine's: left alone")
    cache = user_cache_path(CACHE_NAME)
    print(f"{size_of(cache) / 1e6:,.0f} MB of photographs are kept in {cache}")
    if not findings:
        print("Nothing to fix.")
    elif config.fix:
        print(f"Fixed: {len(findings)}.")
    else:
        print(f"To be fixed with --fix: {len(findings)}.")


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder; 0 if it does not exist."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
