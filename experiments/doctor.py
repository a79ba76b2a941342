"""What killed processes have left behind: found, and with `--fix` put in order.

    python -m experiments.doctor            says what it finds, and changes nothing
    python -m experiments.doctor --fix      closes runs, deletes checkpoints that nobody can use

A run that says RUNNING is closed only if its process was one of this machine and is no more. It can
be resumed afterwards as before.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple
from urllib.parse import urlparse
from urllib.request import url2pathname

from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from platformdirs import user_cache_path
from pydantic.dataclasses import dataclass

from datasets.cats_and_dogs import CACHE_NAME
from experiments.harness import signals, tracking
from experiments.harness.config import STRICT, Configuration, parse
from experiments.harness.launch import run_command

SECONDS_UNTOUCHED = 24 * 3600
"""How old a checkpoint of no run must be: where two stores share a folder, it may be the other's,
and whoever works on a run writes its checkpoint every few seconds."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DoctorConfig(Configuration):
    """Find what killed processes have left behind in the tracking store and on the disk."""

    entry_point: ClassVar[str] = ""

    fix: bool = False
    """Close the runs that were found, and delete the checkpoints, rather than only name them."""

    @classmethod
    def module(cls) -> str:  # noqa: D102
        return "experiments.doctor"


class Finding(NamedTuple):
    """Something that is not as it should be."""

    what: str
    """In one line."""
    mend: Callable[[], None]


def main(config: DoctorConfig) -> None:
    """Print what was found, and mend it if that is asked for.

    Raises:
        UserError: the tracking store cannot be used.

    """
    with tracking.store_errors(), tracking.store_lock():
        findings = [*abandoned_runs(), *orphaned_checkpoints()]
        others = sum(not tracking.process_gone(run.data.tags) for run in unfinished_runs())
    for finding in findings:
        print(finding.what)
        if config.fix:
            finding.mend()
    print(f"{others} runs go on, or are another machine's: left alone")
    cache = user_cache_path(CACHE_NAME)
    print(f"{size_of(cache) / 1e6:,.0f} MB of photographs are kept in {cache}")
    if not findings:
        print("Nothing is to be mended.")
    elif config.fix:
        print(f"Mended: {len(findings)}.")
    else:
        print(f"To be mended with --fix: {len(findings)}.")


def abandoned_runs() -> Iterator[Finding]:
    """Yield the runs that nobody works on any more, though they say so."""
    for run in unfinished_runs():
        tags = run.data.tags
        if tracking.process_gone(tags):
            name = f"run {run.info.run_id} ({run.info.run_name})"
            yield Finding(
                f"{name} says RUNNING, but its process {tags.get('process_id')} is gone",
                lambda run=run: close(run),  # type: ignore[misc]
            )


def close(run: Run) -> None:
    """End a run as KILLED, and say why."""
    client = MlflowClient()
    client.set_tag(run.info.run_id, "failure", "its process was gone without a word")
    client.set_terminated(run.info.run_id, "KILLED")


def unfinished_runs() -> Iterator[Run]:
    """Yield every run that says RUNNING, of all experiments."""
    client, token = MlflowClient(), None
    places = [place.experiment_id for place in client.search_experiments()]
    while True:
        page = client.search_runs(places, "attributes.status = 'RUNNING'", page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def orphaned_checkpoints() -> Iterator[Finding]:
    """Yield the checkpoints of runs that the store knows no more; a deleted run can come back."""
    client = MlflowClient()
    for place in client.search_experiments(view_type=ViewType.ALL):
        location = urlparse(place.artifact_location)
        if location.scheme not in ("", "file"):
            continue
        folder = Path(url2pathname(location.path))
        for checkpoint in folder.glob(f"*/artifacts/{tracking.CHECKPOINT}"):
            run_id = checkpoint.relative_to(folder).parts[0]
            untouched = time.time() - checkpoint.stat().st_mtime
            if untouched > SECONDS_UNTOUCHED and not is_known(client, run_id):
                size = checkpoint.stat().st_size / 1e6
                yield Finding(
                    f"checkpoint {checkpoint} ({size:,.1f} MB) belongs to no run of this store",
                    checkpoint.unlink,
                )


def is_known(client: MlflowClient, run_id: str) -> bool:
    """Whether the store has a run, deleted or not."""
    try:
        client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder; 0 if it does not exist."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    signals.listen()
    run_command(lambda: main(parse(DoctorConfig)))
