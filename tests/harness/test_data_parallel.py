"""Several processes that train one model, against one that trains it alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mlflow.tracking import MlflowClient

import experiments
from harness.command_line import launch
from harness.errors import UserError
from harness.signals import Terminated
from harness.tracking.lifecycle import track
from harness.training.data_parallel import Processes, joined
from harness.training.loop import Progress
from harness.training.train import train
from tests.harness.small import SmallConfig
from tests.harness.two_processes import rows

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def torchrun(*words: str) -> "subprocess.CompletedProcess[str]":
    """Start two processes on the CPU, and wait for them."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*TORCHRUN, *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def check_equality(names: list[str], folder: Path) -> None:
    """Check that two processes train as one does, and end with the same weights as each other."""
    script = Path(__file__).parent / "two_processes.py"
    ended = torchrun(str(script), str(folder / "rows"), *names)
    assert ended.returncode == 0, ended.stderr
    first, second = (json.loads((folder / f"rows.{rank}").read_text()) for rank in range(2))
    assert first == second
    alone = rows(names)
    assert alone.keys() == first.keys()
    for name, epochs in alone.items():
        for here, there in zip(first[name], epochs, strict=True):
            for key in ("train/loss", "val/loss"):
                assert here[key] == pytest.approx(there[key], rel=1e-5), name


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    check_equality(["line"], tmp_path)


@pytest.mark.slow
def test_two_processes_train_every_experiment_as_one(tmp_path: Path) -> None:
    check_equality(experiments.names(), tmp_path)


@pytest.mark.slow
def test_two_processes_resume_what_one_has_begun(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first of them tracks the run, and it alone."""
    experiment = experiments.find("seq_classification")
    config = experiment.config_class(**experiment.config_class.tiny).replace(num_epochs=4)
    undisturbed = train(experiment, config).history.best_metrics()

    def interrupt(progress: Progress) -> None:
        if progress.epoch == 2:
            raise Terminated

    with pytest.raises(Terminated), track(config, "cpu") as run:
        train(experiment, config, callbacks=[interrupt], recorder=run)
    ended = torchrun("-m", "experiments.seq_classification", "--resume", run.run_id)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count(run.run_id) >= 1
    client = MlflowClient()
    (found,) = client.search_runs([client.get_run(run.run_id).info.experiment_id])
    assert found.info.status == "FINISHED"
    for name in ("best/val_loss", "best/val_accuracy"):
        assert found.data.metrics[name] == pytest.approx(undisturbed[name], rel=1e-5)
    losses = client.get_metric_history(run.run_id, "train/loss")
    assert [each.step for each in losses] == [1, 2, 3, 4]


@pytest.mark.parametrize("num_rows", [1, 2, 3, 7, 8])
def test_each_row_of_a_batch_is_the_own_one_of_one_process(num_rows: int) -> None:
    batch = (torch.arange(num_rows), torch.arange(num_rows) * 10, "a word", torch.tensor(5))
    found: list[int] = []
    for rank in range(3):
        (numbers, tens, word, scalar), is_own = Processes(rank, 3)._part(batch)
        assert (word, scalar) == ("a word", 5)
        assert (tens == 10 * numbers).all()
        assert len(numbers) > 0
        found += numbers.tolist() if is_own else []
    assert found == list(range(num_rows))


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="--nproc-per-node=4: at most 2"), joined(SmallConfig()):
        pass


def test_what_trains_several_models_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(sys, "argv", ["moe", "--seeds", "2"])
    for rank, said in (("0", "error: torchrun: its processes train one model"), ("1", "")):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(SystemExit, match="2"):
            launch(experiments.find("moe").config_class)
        assert capsys.readouterr().err.startswith(said)
