"""The mixture of experts: its restarts, what is kept of them, what it learns."""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch

from experiments.moe.config import MoEConfig
from experiments.moe.lesson import EXPERIMENT
from experiments.moe.restarts import accuracy, best_restart
from experiments.moe_extended.config import MoEExtendedConfig
from experiments.moe_extended.lesson import NumbersOfExperts
from harness.errors import UserError
from harness.run_experiment import run_experiment
from harness.training.device import seed_everything
from harness.training.train import train
from models import moe_losses, stacked
from tests.experiments.calibrated import temperature_of

DATA = EXPERIMENT.load_data(MoEConfig(**MoEConfig.tiny))


def test_restarts_train_as_they_would_alone() -> None:
    """Each restart of a stack ends with the weights that it would have reached by itself."""
    config = MoEConfig(**MoEConfig.tiny).replace(restarts=3, num_epochs=3, gradient_clip_norm=0.1)
    points, labels = EXPERIMENT.load_data(config).train
    seed_everything(0)
    stack = EXPERIMENT.build_stack(config, DATA, (3,))
    starts = [stacked.select_from_stack(stack.state_dict(), i) for i in range(3)]

    def descend(model: torch.nn.Module) -> dict[str, torch.Tensor]:
        optimizer = EXPERIMENT.optimizer(config, model)
        for i in (0, 50, 100):
            optimizer.zero_grad()
            batch = points[i : i + 50], labels[i : i + 50]
            EXPERIMENT.loss(config, model, batch).loss.backward()
            EXPERIMENT.clip_gradients(model, config.gradient_clip_norm)
            optimizer.step()
        return model.state_dict()

    together = descend(stack)
    for i, weights in enumerate(starts):
        alone = EXPERIMENT.build_stack(config, DATA, (1,))
        alone.load_state_dict({name: value.unsqueeze(0) for name, value in weights.items()})
        for name, value in descend(alone).items():
            torch.testing.assert_close(together[name][i], value[0], rtol=1e-4, atol=1e-6)


def test_clipping_is_torchs_for_each_restart() -> None:
    config = MoEConfig(**MoEConfig.tiny)
    stack, one = (
        EXPERIMENT.build_stack(config, DATA, (2,)),
        EXPERIMENT.build_stack(config, DATA, ()),
    )
    for p in stack.parameters():
        p.grad = torch.randn_like(p)
    for p, q in zip(one.parameters(), stack.parameters(), strict=True):
        assert q.grad is not None
        p.grad = q.grad[1].clone()
    torch.nn.utils.clip_grad_norm_(one.parameters(), 0.5)
    EXPERIMENT.clip_gradients(stack, 0.5)
    for p, q in zip(one.parameters(), stack.parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        torch.testing.assert_close(q.grad[1], p.grad)


def test_the_best_restart_by_validation_is_the_one_that_is_kept() -> None:
    config = MoEConfig(**MoEConfig.tiny).replace(restarts=5, num_epochs=4)
    trained = train(EXPERIMENT, config)
    losses = trained.history.stacked("val/objective")  # (epochs, restarts)
    epoch, restart = np.unravel_index(losses.argmin(), losses.shape)
    best = trained.history.best_epoch - 1, best_restart(trained.history)
    assert best == (int(epoch), int(restart))
    output = EXPERIMENT.loss(config, trained.model, trained.data.validation)
    assert output.metrics["objective"].item() == pytest.approx(losses.min(), rel=1e-5)


def test_two_experts_beat_one_line_and_specialise() -> None:
    """Half the default's epochs and data already leave the best single line, 0.698, far behind."""
    config = MoEConfig(
        num_epochs=15, num_train=10_000, num_validation=5_000, num_test=20_000, animation=False
    )
    trained = train(EXPERIMENT, config)
    metrics = EXPERIMENT.evaluate(config, trained, trained.data.test).metrics
    assert metrics["test/accuracy"] > 0.93
    assert metrics["test/hard_routing_accuracy"] > 0.93
    assert metrics["test/logistic_regression_accuracy"] == pytest.approx(0.68, abs=0.02)
    assert metrics["test/perceptron_accuracy"] > metrics["test/logistic_regression_accuracy"]
    share = [metrics["test/expert_share_1"], metrics["test/expert_share_2"]]
    assert sum(share) == pytest.approx(1)
    assert min(share) > 0.3


def test_four_experts_of_which_each_point_gets_one_come_close_to_four_segments() -> None:
    """As many straight segments reach 0.983; before, no more than two of the experts were used."""
    config = MoEConfig(num_experts=4, top_k=1, num_test=20_000, restarts=8, animation=False)
    trained = train(EXPERIMENT, config)
    points, labels = trained.data.test
    with torch.inference_mode():
        mixture = trained.model.mix(points)
        assert accuracy(mixture.combine(config.mixing), labels) > 0.97
    assert moe_losses.expert_load(mixture, config.top_k).min() > 0.15


@pytest.mark.parametrize("data", ["moons", "circles", "spirals", "checkerboard"])
def test_every_data_set_trains(data: str) -> None:
    config = MoEConfig(**MoEConfig.tiny).replace(data=data, top_k=1, routing_noise=0.1)
    assert len(train(EXPERIMENT, config).history.rows) == config.num_epochs


def test_a_weight_is_restored_as_it_was_kept() -> None:
    config = MoEConfig(**MoEConfig.tiny)
    trained = train(EXPERIMENT, config)
    restored = EXPERIMENT.restore_model(config, DATA, trained.model.state_dict())
    points = trained.data.validation.points
    torch.testing.assert_close(restored(points), trained.model(points), rtol=0, atol=0)


def test_more_experts_per_point_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="top_k=3: exceeds num_experts=2"):
        MoEConfig(top_k=3)


def flowers(path: Path, classes: tuple[str, ...], num_features: int) -> str:
    rng = np.random.default_rng(0)
    header = [f"feature {i}" for i in range(num_features)]
    lines = [",".join([*header, "kind"])]
    for number in range(40 * len(classes)):
        label = number % len(classes)
        values = rng.normal(100 + 30 * label, 10, num_features).round(2)
        lines.append(",".join([*map(str, values.tolist()), classes[label]]))
    path.write_text("\n".join([*lines, f"{',' * num_features}{classes[0]}"]))
    return str(path)


@pytest.mark.parametrize(
    ("classes", "num_features", "changes"),
    [
        (("여우", "lynx", "wolf"), 4, {}),
        (
            ("no", "yes"),
            2,
            {"num_experts": 3, "top_k": 2, "routing": "noisy_top_k", "expert_hidden": 4},
        ),
    ],
)
def test_a_mixture_of_a_table_of_ones_own(
    classes: tuple[str, ...],
    num_features: int,
    changes: dict[str, Any],
    tmp_path: Path,
    store: Path,
) -> None:
    file = flowers(tmp_path / "animals.csv", classes, num_features)
    run = run_experiment(EXPERIMENT, MoEConfig(data=file, num_epochs=30, restarts=2, **changes))
    assert run.metrics["test/accuracy"] > 0.8
    client = mlflow.MlflowClient()
    pictures = {
        f.path.removeprefix("figures/") for f in client.list_artifacts(run.run_id, "figures")
    }
    assert {"decision_surface.png", "class_to_expert.png", "confusion.png"} <= pictures
    artifacts = client.get_run(run.run_id).info.artifact_uri
    skipped = mlflow.artifacts.load_dict(f"{artifacts}/tables/skipped.json")
    line = f"line {40 * len(classes) + 2}"
    assert skipped["data"] == [[line, "no value in column 'feature 0'"]]
    (model,) = client.get_run(run.run_id).outputs.model_outputs
    loaded = mlflow.pyfunc.load_model(f"models:/{model.model_id}")
    rows = pd.DataFrame(
        {f"feature {i}": [100.0, 100 + 30 * (len(classes) - 1)] for i in range(num_features)}
    )
    answers = loaded.predict(rows)
    assert answers["class"].tolist() == [classes[0], classes[-1]]
    network: Any = mlflow.pytorch.load_model(f"models:/{model.model_id}")
    logits = network(torch.tensor(rows.to_numpy()))
    if len(classes) == 2:
        logits = torch.stack([torch.zeros(2), logits], dim=1)
    logits = logits / temperature_of(f"models:/{model.model_id}")
    for answer, row in zip(answers["probabilities"], logits.softmax(-1).tolist(), strict=True):
        assert answer == pytest.approx(dict(zip(sorted(classes), row, strict=True)), rel=1e-4)
    assert all(sum(w.values()) == pytest.approx(1) for w in answers["expert_weights"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"data": "rings"},
            "^data=rings: allowed are ring, .* and the path of a CSV file; did you mean ring",
        ),
        ({"data": "/nowhere.csv"}, "^data=/nowhere.csv: "),
        ({"data": "iris", "label_column": "x"}, "^label_column=x: has no effect here"),
        ({"data": "iris", "num_train": 10}, "^num_train=10: has no effect here"),
        ({"split": "ordered"}, "^split=ordered: has no effect here"),
        (
            {"data": "wine", "split": "ordered"},
            "^data=wine: class 'class_[02]': none among the rows .* the (train|validation) split",
        ),
        (
            {"data": "iris", "num_experts": 91},
            "^num_experts=91: more than the 90 training rows of iris; at most that many$",
        ),
        (
            {"num_experts": 11, "num_train": 10},
            "^num_experts=11: exceeds num_train=10; at most as many experts as points$",
        ),
        (
            {"num_experts": 3, "top_k": 1, "routing": "noisy_top_k"},
            "^top_k=1: with routing=noisy_top_k the one weight is 1, .*; at least 2$",
        ),
        ({"num_experts": 3, "routing": "expert_choice"}, "^routing=expert_choice: has no effect"),
    ],
)
def test_data_that_are_not_there(changes: dict[str, Any], message: str, store: Path) -> None:
    with pytest.raises(UserError, match=message):
        run_experiment(EXPERIMENT, MoEConfig(**changes))
    assert not mlflow.search_runs(search_all_experiments=True, output_format="list")


def test_standardising_leaves_the_default_data_as_they_are_to_the_last_bit() -> None:
    config = MoEConfig(**MoEConfig.tiny)
    trained = train(EXPERIMENT, config)
    points = trained.data.validation.points
    exported = EXPERIMENT.export(config, trained).module
    assert torch.equal(exported(points), trained.model(points))


@pytest.mark.parametrize("batch_size", [7, 36, 500])
def test_an_epoch_of_a_small_table_has_ten_steps_at_least(batch_size: int) -> None:
    config = MoEConfig(data="iris", batch_size=batch_size)
    data = EXPERIMENT.load_data(config)
    batches = EXPERIMENT.training_batches(config, data, epoch=1)
    seen = torch.cat([points for points, *_ in batches])
    passes = {7: 1, 36: 4, 500: 10}[batch_size]
    assert len(batches) == len(list(batches)) >= 10
    assert torch.equal(
        torch.sort(seen.flatten())[0],
        torch.sort(data.train.points.repeat(passes, 1).flatten())[0],
    )


def test_the_temperature_follows_the_data_unless_it_is_given() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"mixing": "logits"},
        {"top_k": 1},
        {"data": "iris"},
        {"data": "iris", "gate_temperature": 7.0},
    ]
    assert [MoEConfig(**each).temperature for each in changes] == [5, 30, 30, 1, 7]


@pytest.mark.parametrize(
    "changes",
    [
        {"top_k": 1, "routing": "expert_choice"},
        pytest.param(
            {"top_k": 2, "expert_hidden": 4, "routing": "noisy_top_k"}, marks=pytest.mark.slow
        ),
    ],
)
def test_a_mixture_of_the_digits_specialises(changes: dict[str, Any]) -> None:
    """Mutual information and the images' means are those written out; all pictures are drawn."""
    config = MoEConfig(
        data="digits", split="ordered", num_experts=4, num_epochs=4, restarts=1, **changes
    )
    trained = train(EXPERIMENT, config)
    assert trained.data.test.labels[:10].tolist() != sorted(trained.data.test.labels[:10].tolist())
    evaluation = EXPERIMENT.evaluate(config, trained, trained.data.test)
    joint = np.zeros((10, 4))
    assigned = evaluation.mixture.weights.argmax(0)
    for label, expert in zip(trained.data.test.labels, assigned, strict=True):
        joint[label, expert] += 1 / len(assigned)
    independent = joint.sum(1, keepdims=True) * joint.sum(0)
    both = zip(joint.flat, independent.flat, strict=True)
    expected = sum(p * np.log2(p / q) for p, q in both if p > 0)
    assert evaluation.metrics["test/mutual_information_bits"] == pytest.approx(expected)
    assert 0.5 < evaluation.metrics["test/active_size_perceptron_accuracy"] < 1
    names = [name for name, _ in EXPERIMENT.figures(config, trained, evaluation)]
    expected_names = {"class_to_expert", "expert_images", "expert_usage_over_epochs"}
    assert expected_names <= set(names)
    assert ("expert_weights" in names) == (config.expert_hidden == 0)


def test_numbers_of_experts_are_compared_on_a_table() -> None:
    config = MoEExtendedConfig(data="wine", num_experts=2, num_epochs=1, restarts=1)
    experiment = NumbersOfExperts()
    trained = train(experiment, config)
    evaluation = experiment.evaluate(config, trained, trained.data.test)
    assert all(set(values) == {1, 2} for values in evaluation.series.values())
    assert dict(experiment.figures(config, trained, evaluation))["accuracy_by_num_experts"]
