"""What killed processes have left behind: found, and with `--fix` put in order.

    python -m experiments.doctor            says what it finds, and changes nothing
    python -m experiments.doctor --fix      closes runs, deletes checkpoints that nobody can use

A run that says RUNNING is closed only if its process was one of this machine and is no more. It can
be resumed afterwards as before.
"""

import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlparse
from urllib.request import url2pathname

from mlflow.entities import Experiment, Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from platformdirs import user_cache_path
from pydantic.dataclasses import dataclass

from datasets.cats_and_dogs import CACHE_NAME
from experiments.harness import signals, tracking
from experiments.harness.config import STRICT, Configuration, parse
from experiments.harness.errors import UserError
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
        UserError: the tracking store cannot be used, or a checkpoint cannot be deleted.

    """
    # Under the lock no run is reopened: what was found to be abandoned still is when it is closed.
    with tracking.store_errors(), tracking.store_lock():
        findings = [*abandoned_runs(), *orphaned_checkpoints()]
        others = sum(not tracking.process_gone(run.data.tags) for run in runs_that_are("RUNNING"))
        finished = sum(size_of(folder) for folder in checkpoints_of_finished_runs())
        for finding in findings:
            print(finding.what)
            if config.fix:
                finding.mend()
    print(f"{finished / 1e6:,.0f} MB of checkpoints are of finished runs: left alone")
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
    for run in runs_that_are("RUNNING"):
        tags = run.data.tags
        if tracking.process_gone(tags):
            name = f"run {run.info.run_id} ({run.info.run_name})"
            yield Finding(
                f"{name} says RUNNING, but its process {tags.get('process_id')} is gone",
                partial(close, run),
            )


def close(run: Run) -> None:
    """End a run as KILLED, and say why; unless somebody has gone on with it meanwhile."""
    client = MlflowClient()
    # On a server there is no lock: ask once more.
    if not tracking.process_gone(client.get_run(run.info.run_id).data.tags):
        return
    client.set_tag(run.info.run_id, "failure", "its process was gone without a word")
    client.set_terminated(run.info.run_id, "KILLED")


def runs_that_are(status: str) -> Iterator[Run]:
    """Yield every run of a status, of all experiments."""
    client, query = MlflowClient(), f"attributes.status = '{status}'"
    for place in mlflow_experiments(ViewType.ACTIVE_ONLY):
        yield from pages(partial(client.search_runs, [place.experiment_id], query))


def mlflow_experiments(view: str) -> Iterator[Experiment]:
    """Yield the experiments of the store."""
    yield from pages(partial(MlflowClient().search_experiments, view_type=view))


def pages(search: Callable[..., Any]) -> Iterator[Any]:
    """Yield what a search of MLflow finds, page after page."""
    token = None
    while True:
        page = search(page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def orphaned_checkpoints() -> Iterator[Finding]:
    """Yield the checkpoints of runs that the store knows no more; a deleted run can come back."""
    client = MlflowClient()
    for place in mlflow_experiments(ViewType.ALL):
        folder = local_folder(place.artifact_location)
        for checkpoint in folder.glob(f"*/artifacts/{tracking.CHECKPOINT}") if folder else ():
            run_id = checkpoint.parents[2].name
            if not re.fullmatch("[0-9a-f]{32}", run_id):
                continue  # no folder that MLflow has made: somebody's copy
            untouched = time.time() - checkpoint.stat().st_mtime
            if untouched > SECONDS_UNTOUCHED and not is_known(client, run_id):
                size = checkpoint.stat().st_size / 1e6
                yield Finding(
                    f"checkpoint {checkpoint} ({size:,.1f} MB) belongs to no run of this store",
                    partial(delete, checkpoint),
                )


def delete(checkpoint: Path) -> None:
    """Delete a checkpoint.

    Raises:
        UserError: the file system refuses.

    """
    try:
        checkpoint.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"fix=True: {checkpoint} cannot be deleted ({error.strerror})") from None


def checkpoints_of_finished_runs() -> Iterator[Path]:
    """Yield the local folders of them; this suite resumes no run that has finished."""
    for run in runs_that_are("FINISHED"):
        folder = local_folder(run.info.artifact_uri)
        if folder:
            yield (folder / tracking.CHECKPOINT).parent


def local_folder(uri: str) -> Path | None:
    """Return the folder that a location of artifacts is, unless it is on a server."""
    location = urlparse(uri)
    return Path(url2pathname(location.path)) if location.scheme in ("", "file") else None


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
