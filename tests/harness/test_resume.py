"""Runs that were interrupted: how they are resumed, and when they are not."""

import json
import socket
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient
from sqlalchemy import text

from harness.errors import UserError
from harness.run_experiment import run_experiment
from harness.tracking.abandoned import children_closed
from harness.tracking.processes import TAG, this_process
from tests.conftest import collect_garbage
from tests.harness.runs import Interrupted, LeavesOut, history, interrupted_run, only_run
from tests.harness.small import EXPERIMENT, SmallConfig

pytestmark = pytest.mark.usefixtures("no_model")


def test_resuming_continues_the_same_run_with_the_same_numbers(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SmallConfig(num_epochs=6, seed=1)
    run_id = interrupted_run(config)
    assert MlflowClient().get_run(run_id).info.status == "KILLED"
    assert [step for step, _ in history(run_id, "val/loss")] == [1, 2, 3]
    run_experiment(EXPERIMENT, SmallConfig(resume=run_id))
    resumed = only_run()
    assert (resumed.info.run_id, resumed.info.status) == (run_id, "FINISHED")
    assert "failure" not in resumed.data.tags

    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "uninterrupted")
    run_experiment(EXPERIMENT, config)
    whole = only_run("uninterrupted")
    for name in ("train/loss", "val/loss", "learning_rate"):
        assert history(run_id, name) == history(whole.info.run_id, name)
    assert resumed.data.metrics["test/loss"] == whole.data.metrics["test/loss"]


def test_an_epoch_that_was_saved_and_not_logged_is_logged_on_resuming(store: Path) -> None:
    run_id = interrupted_run(SmallConfig(num_epochs=4))
    with MlflowClient()._tracking_client.store.ManagedSessionMaker() as session:
        session.execute(text("DELETE FROM metrics WHERE step = 3"))  # died before it was logged
    run_experiment(EXPERIMENT, SmallConfig(resume=run_id))
    assert [step for step, _ in history(run_id, "val/loss")] == [1, 2, 3, 4]


def test_resuming_seeds_repeats_none_that_finished(store: Path) -> None:
    experiment = Interrupted(0, 1)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(experiment, SmallConfig(num_epochs=5, seeds=3))
    runs = MlflowClient().search_runs([mlflow.get_experiment_by_name("small").experiment_id])
    parent = next(run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    run_experiment(experiment, SmallConfig(resume=parent.info.run_id))
    assert experiment.trained == [0, 1, 1, 2]
    runs = MlflowClient().search_runs([parent.info.experiment_id])
    assert len(runs) == 4
    assert {run.info.status for run in runs} == {"FINISHED"}


@pytest.mark.parametrize(
    "case", ["unknown", "deleted", "collected", "other entry point", "finished", "other value"]
)
def test_what_cannot_be_resumed_says_why(store: Path, case: str) -> None:
    run_id = interrupted_run(SmallConfig())
    config = SmallConfig(resume=run_id)
    if case == "unknown":
        config = SmallConfig(resume="0123456789abcdef0123456789abcdef")
    elif case == "deleted":
        MlflowClient().delete_run(run_id)
    elif case == "collected":
        collect_garbage(run_id)
    elif case == "other entry point":
        MlflowClient().set_tag(run_id, "entry_point", "rnn")
    elif case == "finished":
        MlflowClient().set_terminated(run_id)
    else:
        config = SmallConfig(resume=run_id, num_epochs=99)
    word = {
        "unknown": "no run",
        "deleted": f"is deleted; `mlflow runs restore --run-id {run_id}` restores it",
        "collected": "or `mlflow gc` has removed it",
        "other entry point": "rnn",
        "finished": "has finished",
        "other value": "num_epochs=99",
    }
    with pytest.raises(UserError, match=word[case]) as caught:
        run_experiment(EXPERIMENT, config)
    assert "\n" not in str(caught.value)


def test_a_run_whose_process_lives_is_not_resumed(store: Path) -> None:
    run_id = interrupted_run(SmallConfig())
    MlflowClient().update_run(run_id, status="RUNNING")
    with pytest.raises(UserError, match="still works on that run"):
        run_experiment(EXPERIMENT, SmallConfig(resume=run_id))


def test_a_damaged_checkpoint_is_said_and_the_run_left_as_it_was(store: Path) -> None:
    run_id = interrupted_run(SmallConfig())
    (path,) = store.rglob("last.pt")
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match="damaged"):
        run_experiment(EXPERIMENT, SmallConfig(resume=run_id))
    assert MlflowClient().get_run(run_id).info.status == "KILLED"


def test_a_run_of_mlflow_that_only_resumes_another_says_so(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = interrupted_run(SmallConfig())
    experiment_id = MlflowClient().get_run(run_id).info.experiment_id
    wrapper = MlflowClient().create_run(experiment_id).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", wrapper)
    run_experiment(EXPERIMENT, SmallConfig(resume=run_id))
    assert MlflowClient().get_run(run_id).info.status == "FINISHED"
    assert run_id in MlflowClient().get_run(wrapper).data.tags["mlflow.note.content"]


def test_a_run_is_not_resumed_with_other_data(store: Path) -> None:
    """As where a file has another content: not of one seed, and not of several."""
    for config in (SmallConfig(), SmallConfig(seeds=2)):
        experiment = type("Halted", (LeavesOut, Interrupted), {})()
        with pytest.raises(KeyboardInterrupt):
            run_experiment(experiment, config)
        place = mlflow.get_experiment_by_name("small").experiment_id
        run, *_ = [
            run
            for run in MlflowClient().search_runs([place])
            if "mlflow.parentRunId" not in run.data.tags
        ]
        experiment.slope = 4.0
        message = r"was trained on line \(\w+\), and the data are line \(\w+\) now"
        with pytest.raises(UserError, match=message):
            run_experiment(experiment, SmallConfig(resume=run.info.run_id))
        assert MlflowClient().get_run(run.info.run_id).info.status == "KILLED"


def test_children_of_workers_that_were_killed_are_closed(store: Path) -> None:
    client = MlflowClient()
    experiment = client.create_experiment("several")
    parent = client.create_run(experiment).info.run_id
    gone = {"host": socket.gethostname(), "process_id": "999999999", "process_started": "0"}
    tags = {"mlflow.parentRunId": parent}
    orphan, alive = (
        client.create_run(experiment, tags={**tags, TAG: json.dumps(process)}).info.run_id
        for process in (gone, this_process())
    )
    with pytest.raises(KeyError), children_closed(parent):
        raise KeyError("an error")
    assert client.get_run(orphan).info.status == "KILLED"
    assert client.get_run(alive).info.status == "RUNNING"
