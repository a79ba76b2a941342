"""The training loop against a loop written out by hand."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.training.batches import GeneratedSamples, MappedBatches, TensorBatches
from harness.training.device import Hardware, seed_everything
from harness.training.loop import Progress, evaluate
from harness.training.metrics import DivergedError, StepOutput, decimal, scalars
from tests.harness.small import Line, SmallConfig, line, squared_error, train_line


def always(batches: TensorBatches) -> dict[str, Any]:
    """Return what makes `train_line` train and validate on these batches."""
    names = ("training_batches", "validation_batches")
    return dict.fromkeys(names, lambda config, data, epoch=0: batches)


def test_equals_gradient_descent_written_out() -> None:
    config = SmallConfig(num_epochs=2, lr_schedule="constant", gradient_clip_norm=0.5)
    torch.manual_seed(0)
    model = nn.Linear(1, 1)
    weight, bias = model.weight.item(), model.bias.item()
    x, y = (t.flatten().double().tolist() for t in line())
    in_order = TensorBatches(*line(), batch_size=4)
    history = train_line(config, model=model, **always(in_order))
    losses = []
    for _ in range(2):
        total = 0.0
        for rows in (range(4), range(4, 8), range(8, 10)):
            residuals = [weight * x[i] + bias - y[i] for i in rows]
            total += sum(r * r for r in residuals)
            gradient_w = 2 * sum(r * x[i] for r, i in zip(residuals, rows, strict=True)) / len(rows)
            gradient_b = 2 * sum(residuals) / len(rows)
            clip = min(1, 0.5 / math.hypot(gradient_w, gradient_b))
            weight -= 0.1 * clip * gradient_w
            bias -= 0.1 * clip * gradient_b
        losses.append(total / 10)
    assert model.weight.item() == pytest.approx(weight, rel=1e-4, abs=1e-5)
    assert model.bias.item() == pytest.approx(bias, rel=1e-4, abs=1e-5)
    assert history.column("train/loss") == pytest.approx(losses, rel=1e-4)


def test_shuffled_images_keep_their_memory_layout() -> None:
    images = torch.rand(7, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    seen = torch.arange(7)
    batches = list(TensorBatches(images, seen, batch_size=3, shuffle=True))
    for rows, numbers in batches:
        assert torch.equal(rows, torch.stack([images[number] for number in numbers.tolist()]))
    assert batches[0][0].is_contiguous(memory_format=torch.channels_last)


def test_same_seed_same_metrics_to_the_last_bit() -> None:
    histories = []
    for _ in range(2):
        seed_everything(5)
        histories.append(train_line(SmallConfig()))
    for name in ("train/loss", "val/loss", "learning_rate"):
        assert (histories[0].column(name) == histories[1].column(name)).all()


def test_the_best_weights_by_validation_are_kept() -> None:
    """The rate rises until training overshoots: the best epoch is not the last."""
    model = nn.Linear(1, 1)
    weights: list[Tensor] = []

    def explode(progress: Progress) -> None:
        weights.append(model.weight.detach().clone())
        for group in progress.optimizer.param_groups:
            group["lr"] = 0.1 if progress.epoch < 3 else 5.0

    config = SmallConfig(num_epochs=5, lr_schedule="constant")
    history = train_line(config, model=model, callbacks=[explode])
    assert history.best_epoch == int(history.column("val/loss").argmin()) + 1 < 5
    assert torch.equal(model.weight, weights[history.best_epoch - 1])
    assert history.best["val/loss"] == history.column("val/loss").min()


def test_early_stopping_waits_for_as_long_as_it_is_told() -> None:
    config = SmallConfig(num_epochs=50, learning_rate=1e-12, early_stopping_epochs=4)
    history = train_line(config)
    assert len(history.rows) == history.best_epoch + 4 < 50


def test_maximise_keeps_the_highest() -> None:
    history = train_line(SmallConfig(num_epochs=4), monitor="val/accuracy", maximise=True)
    assert history.best["val/accuracy"] == history.column("val/accuracy").max()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_at_once_and_says_where(bad: float) -> None:
    calls = 0

    def fails_at_the_fifth_step(config: SmallConfig, model: nn.Module, batch: Any) -> StepOutput:
        nonlocal calls
        calls += model.training
        output = squared_error(model, batch)
        return output._replace(loss=output.loss * (bad if calls == 5 else 1))

    with pytest.raises(DivergedError, match=r"epoch 2, step 2, learning rate 0\.1"):
        train_line(SmallConfig(lr_schedule="constant"), loss=fails_at_the_fifth_step)
    assert calls == 5


def test_a_validation_loss_that_is_not_finite_stops_too() -> None:
    def loses_validation(config: SmallConfig, model: nn.Module, batch: Any) -> StepOutput:
        output = squared_error(model, batch)
        return (
            output if model.training else output._replace(metrics={"loss": torch.tensor(math.nan)})
        )

    with pytest.raises(DivergedError, match="epoch 1, after its last step"):
        train_line(SmallConfig(), loss=loses_validation)


def test_metrics_are_weighted_by_what_they_are_over() -> None:
    model = nn.Linear(1, 1)
    hardware = Hardware(torch.device("cpu"), "fp32")
    x, y = line()
    whole = squared_error(model, (x, y)).loss.item()
    for batch_size in (1, 3, 10):
        means = evaluate(model, TensorBatches(x, y, batch_size=batch_size), squared_error, hardware)
        assert means.means()["loss"].item() == pytest.approx(whole)


def test_evaluation_leaves_the_mode_as_it_was() -> None:
    model = nn.Linear(1, 1).train()
    hardware = Hardware(torch.device("cpu"), "fp32")
    evaluate(model, TensorBatches(*line(), batch_size=5), squared_error, hardware)
    assert model.training


def test_batches_hold_each_row_once_in_an_order_of_their_own() -> None:
    rows = torch.arange(10)
    batches = TensorBatches(rows, 2 * rows, batch_size=4, shuffle=True)
    first, second = (list(batches) for _ in range(2))
    assert [len(a) for a, _ in first] == [4, 4, 2]
    assert len(batches) == 3
    orders = [torch.cat([a for a, _ in epoch]) for epoch in (first, second)]
    assert all(torch.equal(order.sort().values, rows) for order in orders)
    assert not torch.equal(*orders)
    assert all(torch.equal(b, 2 * a) for a, b in first)


def test_vectors_become_numbered_scalars() -> None:
    summary = scalars({"a": torch.tensor(1.5), "b": torch.tensor([2.0, 3.0])})
    assert summary == {"a": 1.5, "b_1": 2.0, "b_2": 3.0}


def test_averaged_weights_are_evaluated_and_kept_while_the_others_train() -> None:
    """Written out: at first (1 + n) / (10 + n) of the average is kept, later 0.25."""
    x, y = line()
    rates = SmallConfig(num_epochs=4, lr_schedule="constant", ema_decay=0.25)
    model, twin = nn.Linear(1, 1), nn.Linear(1, 1)
    twin.load_state_dict(model.state_dict())
    in_order = TensorBatches(x, y, batch_size=10)
    history = train_line(rates, model=model, **always(in_order))

    averages = [{name: p.detach().clone() for name, p in twin.named_parameters()}]
    losses = []
    for keep in (1 / 10, 2 / 11, 0.25, 0.25):
        parameters = list(twin.parameters())
        loss: Tensor = (twin(x).squeeze(-1) - y).square().mean()
        for parameter, slope in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.data -= 0.1 * slope
        new = {name: p.detach().clone() for name, p in twin.named_parameters()}
        old = averages[-1]
        averages.append({name: keep * old[name] + (1 - keep) * new[name] for name in new})
        kept = averages[-1]
        predicted = torch.nn.functional.linear(x, kept["weight"], kept["bias"]).squeeze(-1)
        losses.append((predicted - y).square().mean().item())
    assert history.column("val/loss") == pytest.approx(losses, rel=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), averages[history.best_epoch][name])


def test_batch_norms_measurements_are_averaged_with_the_weights() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 1))
    means: list[float] = []

    def remember(progress: Progress) -> None:
        assert progress.average is not None
        assert progress.eval_model is progress.average.module
        means.append(progress.eval_model[0].running_mean.item())  # type: ignore[index]

    shifted = (line()[0] + 5, line()[1])
    batches = TensorBatches(*shifted, batch_size=10)
    config = SmallConfig(num_epochs=3, lr_schedule="constant", ema_decay=0.15)
    train_line(config, [remember], model, **always(batches))
    running = [5 * (1 - 0.9**epoch) for epoch in (1, 2, 3)]  # its momentum is 0.1
    average, expected = 0.0, []
    for keep, measured in zip((1 / 10, 0.15, 0.15), running, strict=True):
        average = keep * average + (1 - keep) * measured
        expected.append(average)
    assert means == pytest.approx(expected, rel=1e-4)


def test_a_copy_of_a_compiled_model_has_weights_of_its_own() -> None:
    """What is compiled must not be tied to the model that an average was copied from."""
    model = Hardware(torch.device("cpu"), "fp32", compile=True).prepare(nn.Linear(1, 1))
    twin = copy.deepcopy(model)
    nn.init.zeros_(model.weight)
    assert not torch.equal(twin.weight, model.weight)
    assert "forward" not in vars(twin)


def test_a_last_batch_of_one_joins_the_one_before() -> None:
    rows = torch.arange(7)
    for shuffle in (False, True):
        batches = TensorBatches(rows, batch_size=3, shuffle=shuffle)
        seen = [batch for (batch,) in batches]
        assert [len(batch) for batch in seen] == [3, 4]
        assert len(batches) == 2
        assert sorted(torch.cat(seen).tolist()) == rows.tolist()
    assert [len(batch) for (batch,) in TensorBatches(rows[:1], batch_size=3)] == [1]
    assert [len(batch) for (batch,) in TensorBatches(rows[:3], batch_size=1)] == [1, 1, 1]


def test_of_equally_good_epochs_the_one_with_the_lower_loss_is_kept() -> None:
    model = nn.Linear(1, 1)

    def as_good(config: SmallConfig, model: nn.Module, batch: Line) -> StepOutput:
        output = squared_error(model, batch)
        return StepOutput(output.loss, {**output.metrics, "accuracy": torch.ones(())}, 5)

    history = train_line(
        SmallConfig(num_epochs=3),
        model=model,
        loss=as_good,
        monitor="val/accuracy",
        maximise=True,
    )
    assert history.best_epoch == 1 + int(history.column("val/loss").argmin()) > 1


def test_batches_pass_through_a_function() -> None:
    plain = TensorBatches(torch.arange(4), torch.arange(4) * 10, batch_size=2)
    doubled = MappedBatches(plain, lambda x, y: (2 * x, y))
    assert len(doubled) == 2
    assert [(x.tolist(), y.tolist()) for x, y in doubled] == [
        ([0, 2], [0, 10]),
        ([4, 6], [20, 30]),
    ]


def test_each_epoch_may_have_batches_of_its_own() -> None:
    """A line that stays at zero is as far off as what the epoch shows it."""
    x, y = line()
    model = nn.Linear(1, 1)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)

    def batches(config: SmallConfig, data: Any, epoch: int) -> TensorBatches:
        return TensorBatches(x, epoch * y, batch_size=5)

    config = SmallConfig(num_epochs=3, lr_schedule="constant", learning_rate=1e-12)
    history = train_line(config, model=model, training_batches=batches)
    square = y.square().mean().item()
    assert history.column("train/loss") == pytest.approx([square, 4 * square, 9 * square])


def test_each_epoch_generates_its_own_batches() -> None:
    samples = GeneratedSamples(lambda epoch, number, device: 10 * number, num_batches=3)
    epochs = [samples.batches(epoch) for epoch in (1, 2)]
    assert [list(epoch) for epoch in epochs] == [[0, 10, 20], [30, 40, 50]]
    assert list(epochs[0]) == [0, 10, 20]
    assert len(epochs[0]) == 3


@pytest.mark.parametrize(
    ("value", "beside", "text"),
    [
        (0.94482, None, "0.9448"),
        (0.0, None, "0.0000"),
        (-12.5, None, "-12.5000"),
        (0.0000019385, None, "1.94e-06"),
        (0.00051, 0.9945, "0.0005"),
        (0.0000003, 0.0000019, "3e-07"),
    ],
)
def test_small_numbers_keep_their_digits(value: float, beside: float | None, text: str) -> None:
    assert decimal(value, beside) == text
