"""Learning rates against their closed forms, step by step."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from harness.training.schedules import Schedule
from tests.harness.small import SmallConfig

EPOCHS, STEPS = 6, 5
TOTAL = EPOCHS * STEPS


def rates(losses: list[float] | None = None, steps: int = STEPS, **options: Any) -> list[float]:
    config = SmallConfig(num_epochs=EPOCHS, learning_rate=0.4, **options)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.learning_rate)
    schedule = Schedule(optimizer, config, steps)
    seen = []
    for epoch in range(EPOCHS):
        for _ in range(steps):
            seen.append(schedule.learning_rate)
            optimizer.step()
            schedule.step()
        schedule.end_epoch(losses[epoch] if losses else 1.0)
    return seen


def cosine_between(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def one_cycle(i: int) -> float:
    peak = 0.3 * TOTAL - 1
    if i <= peak:
        return cosine_between(0.4 / 25, 0.4, i / peak)
    return cosine_between(0.4, 0.4 / 25 / 1e4, (i - peak) / (TOTAL - 1 - peak))


CLOSED_FORMS: dict[str, Callable[[int], float]] = {
    "constant": lambda i: 0.4,
    "step": lambda i: 0.4 * 0.5 ** (i // (2 * STEPS)),
    "exponential": lambda i: 0.4 * 0.01 ** (i / (TOTAL - 1)),
    "cosine": lambda i: cosine_between(0.4, 0.004, i / (TOTAL - 1)),
    "one_cycle": one_cycle,
}


DECAYS: dict[str, dict[str, Any]] = {
    name: {"lr_decay_epochs": 2, "lr_decay_factor": 0.5} for name in ("step", "plateau")
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_form(name: str) -> None:
    seen = rates(lr_schedule=name, **DECAYS.get(name, {}))
    assert seen == pytest.approx([CLOSED_FORMS[name](i) for i in range(TOTAL)], rel=1e-9)


@pytest.mark.parametrize("name", ["constant", "step", "exponential", "cosine", "plateau"])
def test_warm_up_rises_linearly_and_reaches_the_highest_rate(name: str) -> None:
    waiting: dict[str, Any] = {"lr_decay_epochs": 6} if name in DECAYS else {}
    seen = rates(lr_schedule=name, lr_warmup_fraction=0.2, **waiting)
    warm = round(0.2 * TOTAL)
    assert seen[: warm + 1] == pytest.approx([0.4 * (i + 1) / (warm + 1) for i in range(warm + 1)])
    assert max(seen) == pytest.approx(0.4)


def test_one_cycle_rises_for_as_long_as_it_is_told() -> None:
    seen = rates(lr_schedule="one_cycle", lr_warmup_fraction=0.5)
    assert seen.index(max(seen)) == TOTAL // 2 - 1


@pytest.mark.parametrize("name", [*CLOSED_FORMS, "plateau"])
def test_without_warm_up_every_schedule_begins_at_the_highest_rate(name: str) -> None:
    assert rates(lr_schedule=name, lr_warmup_fraction=0)[0] == pytest.approx(0.4)


def test_one_cycle_without_warm_up_only_falls_to_where_one_with_it_ends() -> None:
    seen = rates(lr_schedule="one_cycle", lr_warmup_fraction=0)
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == pytest.approx(rates(lr_schedule="one_cycle")[-1])


@pytest.mark.parametrize("warm_up", [0, 0.01, 0.2])
@pytest.mark.parametrize("name", ["cosine", "exponential", "one_cycle"])
def test_the_last_step_has_the_final_fraction(name: str, warm_up: float) -> None:
    options: dict[str, Any] = {} if name == "one_cycle" else {"lr_final_fraction": 0.05}
    seen = rates(lr_schedule=name, lr_warmup_fraction=warm_up, **options)
    assert seen[-1] == pytest.approx(0.4 * options.get("lr_final_fraction", 1 / 25 / 1e4))


@pytest.mark.parametrize("name", [*CLOSED_FORMS, "plateau"])
def test_a_short_warm_up_differs_little_from_none(name: str) -> None:
    """After the rise, the rates are those without it, a hundredth of the training later at most."""
    without, short = (
        rates(steps=100, lr_schedule=name, lr_warmup_fraction=fraction, **DECAYS.get(name, {}))
        for fraction in (0, 0.01)
    )
    assert short[6] == pytest.approx(0.4, rel=1e-3)
    assert all(
        without[i] <= 1.001 * short[i] and short[i] <= 1.001 * without[i - 6] for i in range(6, 600)
    )
    assert rates(lr_schedule=name, lr_warmup_fraction=0.01) == rates(
        lr_schedule=name, lr_warmup_fraction=0
    ), "no step of thirty"


def test_one_cycle_of_a_rise_of_one_step() -> None:
    seen = rates(lr_schedule="one_cycle", lr_warmup_fraction=1 / TOTAL)
    assert seen.index(max(seen)) == 1


def test_plateau_decays_after_so_many_epochs_without_improvement() -> None:
    losses = [1.0, 0.5, 0.6, 0.6, 0.4, 0.3]
    seen = rates(losses, lr_schedule="plateau", lr_decay_epochs=2, lr_decay_factor=0.1)
    by_epoch = [seen[epoch * STEPS] for epoch in range(EPOCHS)]
    assert by_epoch == pytest.approx([0.4, 0.4, 0.4, 0.4, 0.04, 0.04])


@pytest.mark.parametrize("name", [*CLOSED_FORMS, "plateau"])
def test_a_restored_schedule_goes_on_as_the_first_would_have(name: str) -> None:
    options: dict[str, Any] = {"lr_schedule": name, "lr_warmup_fraction": 0.2}
    options |= DECAYS.get(name, {})
    config = SmallConfig(num_epochs=EPOCHS, **options)

    def fresh() -> tuple[torch.optim.Optimizer, Schedule]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.learning_rate)
        return optimizer, Schedule(optimizer, config, STEPS)

    def run(optimizer: torch.optim.Optimizer, schedule: Schedule, count: int) -> list[float]:
        seen = []
        for i in range(count):
            seen.append(schedule.learning_rate)
            optimizer.step()
            schedule.step()
            if i % STEPS == STEPS - 1:
                schedule.end_epoch(1.0)
        return seen

    optimizer, schedule = fresh()
    run(optimizer, schedule, 2 * STEPS)
    saved = optimizer.state_dict(), schedule.state_dict()
    expected = run(optimizer, schedule, TOTAL - 2 * STEPS)
    optimizer, schedule = fresh()
    optimizer.load_state_dict(saved[0])
    schedule.load_state_dict(saved[1])
    assert run(optimizer, schedule, TOTAL - 2 * STEPS) == expected
