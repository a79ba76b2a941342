"""Ensembles of tracked runs: predicted with, registered, and refused where there is no mean."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.tracking import MlflowClient
from PIL import Image

import experiments
from experiments.ensemble import members
from experiments.ensemble.command import main
from experiments.ensemble.config import EnsembleConfig
from experiments.predict.command import main as predict
from harness.errors import UserError
from harness.run_experiment import run_experiment, train_and_evaluate
from harness.tracking.lifecycle import track
from harness.tracking.models import known_models, load
from harness.training.train import train
from tests.conftest import network_of
from tests.experiments.calibrated import temperature_of
from tuning.registry.command import main as registry
from tuning.registry.config import RegistryConfig


def train_seeds(name: str, **values: Any) -> tuple[str, list[str]]:
    """Train two small models below a parent, without evaluation; return the ids of the runs."""
    experiment = experiments.find(name)
    config = experiment.config_class(**(values or experiment.config_class.tiny), seeds=2)
    with track(config, "cpu") as parent:
        children = [
            train_and_evaluate(
                experiment,
                config.for_seed(seed),
                parent_id=parent.run_id,
                read_test=False,
                quiet=True,
            )
            for seed in (0, 1)
        ]
    return parent.run_id, [child.run_id for child in children]


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(1, keepdims=True))


def test_seeds_become_one_model_that_predicts_the_mean_and_is_registered(
    module_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parent, children = train_seeds("moe")
    main(EnsembleConfig(runs=(parent,)))
    assert f"Model runs:/{parent}/model" in capsys.readouterr().out

    uri, points = f"runs:/{parent}/model", np.array([[0.5, -1.2], [3.0, 2.0], [-0.1, 0.9]])
    networks = [network_of(f"runs:/{child}/model") for child in children]
    logits = [np.asarray(mlflow.pyfunc.load_model(each).predict(points)) for each in networks]
    mean = np.mean([1 / (1 + np.exp(-each)) for each in logits], axis=0)
    calibrated = 1 / (1 + ((1 - mean) / mean) ** (1 / temperature_of(uri)))
    rows = mlflow.pyfunc.load_model(uri).predict(pd.DataFrame(points, columns=["x", "y"]))
    assert [row["1"] for row in rows["probabilities"]] == pytest.approx(calibrated, rel=1e-4)
    assert "expert_weights" not in rows

    run = MlflowClient().get_run(parent)
    assert run.info.status == "FINISHED"
    assert {"test/ensemble_accuracy", "best/ensemble_temperature"} <= set(run.data.metrics)
    note = run.data.tags["mlflow.note.content"]
    assert note.count("Ensemble of 2 networks") == 1
    assert parent not in {model.run_id for model in known_models(["moe"])}

    registry(RegistryConfig(action="register", run=parent))
    version = MlflowClient().get_model_version("moe", "1")
    assert "of an ensemble of 2 networks" in version.description
    assert all(f"`{child}`" in version.description for child in children)
    accuracy = run.data.metrics["test/ensemble_accuracy"]
    assert float(version.tags["test/accuracy"]) == accuracy
    registry(RegistryConfig(action="promote", name="moe"))  # reads no test split again
    again = mlflow.pyfunc.load_model("models:/moe@champion")
    pd.testing.assert_frame_equal(again.predict(pd.DataFrame(points, columns=["x", "y"])), rows)


@pytest.fixture(scope="module")
def photographs(module_store: Path) -> tuple[str, list[str]]:
    """Make an ensemble of two convolutional networks; return the ids of its run and of theirs."""
    parent, children = train_seeds("cnn")
    for _ in range(2):  # once more changes nothing
        main(EnsembleConfig(runs=(parent,)))
    return parent, children


@pytest.mark.slow
def test_a_teacher_is_the_logged_model_again_and_one_of_other_inputs_is_refused(
    photographs: tuple[str, list[str]],
) -> None:
    parent, _ = photographs
    experiment = experiments.find("cnn")
    config_class = experiment.config_class
    config = config_class(**config_class.tiny, teacher=parent)
    data = experiment.load_data(config)
    load_teacher = experiment.find_teacher(config, data)
    assert load_teacher is not None
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        answers = load_teacher()(images)
        load_teacher()(torch.rand(3, 3, 16, 16))  # views of any size
    torch.testing.assert_close(answers, load(f"runs:/{parent}/model")(images))

    alone = train(experiment, config.replace(teacher=""), data=data)
    taught = train(experiment, config, data=data)
    differences = [
        (ours - theirs).abs().max().item()
        for ours, theirs in zip(alone.model.parameters(), taught.model.parameters(), strict=True)
    ]
    assert max(differences) > 1e-6

    count = len(MlflowClient().search_runs(["1", "2"]))
    for changes, reason in (
        ({"image_size": 64}, f"teacher={parent}: has image_size 32, and this network 64"),
        ({"teacher": "0" * 32}, "teacher=0+: cannot be loaded"),
    ):
        with pytest.raises(UserError, match=reason):
            run_experiment(experiment, config.replace(**changes))
    assert len(MlflowClient().search_runs(["1", "2"])) == count, "no run was opened"


@pytest.mark.slow
def test_photographs_and_sequences_have_ensembles_that_load_elsewhere(
    module_store: Path, photographs: tuple[str, list[str]], trained: Callable[..., str]
) -> None:
    parent, children = photographs
    images = np.random.default_rng(0).random((3, 3, 32, 32))
    uris = [f"runs:/{each}/model" for each in (*children, parent)]
    networks = [mlflow.pyfunc.load_model(network_of(uri)) for uri in uris]
    *alone, together = [softmax(np.asarray(network.predict(images))) for network in networks]
    np.testing.assert_allclose(together, np.mean(alone, axis=0), atol=1e-6)
    photo = module_store / "photo.png"
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(photo)
    with pytest.raises(UserError, match=f"--explain: .* such as runs:/{children[0]}/model"):
        predict([f"runs:/{parent}/model", str(photo), "--explain"])

    single, other = trained("seq_classification"), trained("seq_classification", width=12)
    runs = tuple(uri.split("/")[1] for uri in (single, other))
    main(EnsembleConfig(runs=runs))
    (made,) = mlflow.search_runs(
        search_all_experiments=True,
        filter_string="tags.mlflow.runName = 'ensemble of 2'",
        output_format="list",
    )
    folder = mlflow.artifacts.download_artifacts(f"runs:/{made.info.run_id}/model")
    code = f"""
import mlflow, pandas
model = mlflow.pyfunc.load_model({folder!r})
print(model.predict(pandas.DataFrame({{"sequence": ["BacXbdcYaE"]}})))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=module_store, capture_output=True, text=True
    )
    assert "probabilities" in done.stdout, done.stderr


def member(run_id: str, **metadata: Any) -> members.Member:
    """Return a member of which only what is compared is known."""
    known: Any = SimpleNamespace(metadata={"classes": ["cats", "dogs"], **metadata})
    run: Any = SimpleNamespace(info=SimpleNamespace(run_id=run_id))
    return members.Member(run, known)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"classes": ["cats", "hens"]}, "classes cats, hens, and run a cats, dogs"),
        ({"image_size": 96}, "image_size 96, and run a 64"),
        ({"entry_point": "moe"}, "entry_point moe, and run a cnn"),
    ],
)
def test_other_classes_and_sizes_are_refused_in_one_line(
    metadata: dict[str, Any], reason: str
) -> None:
    first = {"image_size": 64, "entry_point": "cnn"}
    with pytest.raises(UserError, match=f"runs=b: has {reason}; members"):
        members._require_same_meaning(member("a", **first), member("b", **(first | metadata)))
    members._require_same_meaning(
        member("a", **first), member("b", **first, configuration={"width": 4})
    )


def test_what_is_no_ensemble_is_said(module_store: Path, trained: Callable[..., str]) -> None:
    run_id = trained("moe").split("/")[1]
    for runs, reason in (
        (("0" * 32,), "no run has that id"),
        ((run_id,), "1 network; an ensemble has two or more"),
        ((run_id, run_id), "more than once"),
    ):
        with pytest.raises(UserError, match=reason):
            main(EnsembleConfig(runs=runs))


@pytest.mark.slow
def test_seeds_that_trained_on_training_and_validation_split_become_one_model(
    module_store: Path,
) -> None:
    """Each seed draws another validation split, and is trained on the same series."""
    pytest.importorskip("aeon.datasets")
    values = {"task": "archive", "data_set": "ItalyPowerDemand", "num_epochs": 1, "width": 8}
    parent, _ = train_seeds("seq_classification", **values, refit=True)
    main(EnsembleConfig(runs=(parent,)))
    metrics = MlflowClient().get_run(parent).data.metrics
    assert 0 < metrics["test/ensemble_accuracy"] < 1
    assert not any(name.startswith("best/ensemble") for name in metrics)  # without validation


@pytest.mark.slow
def test_members_with_other_splits_and_of_numbers_are_refused(module_store: Path) -> None:
    parent, _ = train_seeds("moe", data="iris", num_epochs=2)
    with pytest.raises(UserError, match="what tests one may have trained another"):
        main(EnsembleConfig(runs=(parent,)))
    parent, _ = train_seeds("rnn")
    with pytest.raises(UserError, match="ensembles are of classifiers"):
        main(EnsembleConfig(runs=(parent,)))


@pytest.mark.slow
@pytest.mark.parametrize("other", [{"level": "normal"}, {"num_test": 20}, {"num_validation": 20}])
def test_members_with_other_generated_sequences_are_refused(
    module_store: Path, other: dict[str, Any]
) -> None:
    values: dict[str, Any] = {
        **experiments.find("seq_classification").config_class.tiny,
        "num_epochs": 1,
        "level": "easy",
    }
    _, (one, _) = train_seeds("seq_classification", **values)
    _, (_, two) = train_seeds("seq_classification", **(values | other))
    before = len(mlflow.search_runs(search_all_experiments=True))
    with pytest.raises(UserError, match=f"runs={two}: with one seed, it has other samples than"):
        main(EnsembleConfig(runs=(one, two)))
    assert len(mlflow.search_runs(search_all_experiments=True)) == before
