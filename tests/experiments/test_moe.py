"""The mixture-of-experts experiment: restarts, what is kept, what is learnt."""

import numpy as np
import pytest
import torch

from experiments import moe
from experiments.harness.device import Hardware, seed_everything
from experiments.moe import MoEConfig
from models.moe import select_from_stack

CPU = Hardware(torch.device("cpu"), "fp32")


def test_restarts_train_as_they_would_alone() -> None:
    """Each restart of a stack ends with the weights that it would have reached by itself."""
    config = MoEConfig(**MoEConfig.tiny).replace(restarts=3, num_epochs=3, gradient_clip_norm=0.1)
    train = moe.draw(config, "train")
    seed_everything(0)
    stack = moe.build(config, 3)
    starts = [select_from_stack(stack.state_dict(), i) for i in range(3)]
    batches = [tuple(t[i : i + 50] for t in train) for i in (0, 50, 100)]

    def descend(model: torch.nn.Module) -> dict[str, torch.Tensor]:
        optimizer = moe.adam(model, config)
        for points, labels in batches:
            optimizer.zero_grad()
            moe.mixture_loss(config, model, (points, labels)).loss.backward()  # type: ignore[arg-type]
            moe.clip_each_restart(model, config.gradient_clip_norm)
            optimizer.step()
        return model.state_dict()

    together = descend(stack)
    for i, weights in enumerate(starts):
        alone = moe.build(config, 1)
        alone.load_state_dict({name: value.unsqueeze(0) for name, value in weights.items()})
        for name, value in descend(alone).items():
            torch.testing.assert_close(together[name][i], value[0], rtol=1e-4, atol=1e-6)


def test_clipping_is_torchs_for_each_restart() -> None:
    config = MoEConfig(**MoEConfig.tiny)
    stack, one = moe.build(config, 2), moe.build(config)
    for p in stack.parameters():
        p.grad = torch.randn_like(p)
    for p, q in zip(one.parameters(), stack.parameters(), strict=True):
        assert q.grad is not None
        p.grad = q.grad[1].clone()
    torch.nn.utils.clip_grad_norm_(one.parameters(), 0.5)
    moe.clip_each_restart(stack, 0.5)
    for p, q in zip(one.parameters(), stack.parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        torch.testing.assert_close(q.grad[1], p.grad)


def test_the_best_restart_by_validation_is_the_one_that_is_kept() -> None:
    config = MoEConfig(**MoEConfig.tiny).replace(restarts=5, num_epochs=4)
    seed_everything(0)
    learnt = moe.learn(config, CPU)
    losses = learnt.history.stacked("val/loss")  # (epochs, restarts)
    epoch, restart = np.unravel_index(losses.argmin(), losses.shape)
    assert (learnt.history.best_epoch - 1, learnt.restart) == (int(epoch), int(restart))
    outcome = moe.mixture_loss(config, learnt.model, moe.draw(config, "validation"))
    assert outcome.loss.item() == pytest.approx(losses.min(), rel=1e-5)


def test_two_experts_beat_one_line_and_specialise() -> None:
    """Half the default's epochs and data already leave the best single line, 0.698, far behind."""
    config = MoEConfig(
        num_epochs=15, num_train=10_000, num_validation=5_000, num_test=20_000, animation=False
    )
    seed_everything(0)
    learnt, test = moe.learn(config, CPU), moe.draw(config, "test")
    metrics = moe.measure(config, learnt, test) | moe.baselines(config, CPU, test, 12)
    assert metrics["test/accuracy"] > 0.93
    assert metrics["test/hard_routing_accuracy"] > 0.93
    assert metrics["test/logistic_regression_accuracy"] == pytest.approx(0.68, abs=0.02)
    share = [metrics["test/expert_share_1"], metrics["test/expert_share_2"]]
    assert sum(share) == pytest.approx(1)
    assert min(share) > 0.3


@pytest.mark.parametrize("data", ["moons", "circles", "spirals", "checkerboard"])
def test_every_data_set_trains(data: str) -> None:
    config = MoEConfig(**MoEConfig.tiny).replace(data=data, top_k=1, routing_noise=0.1)
    seed_everything(0)
    assert len(moe.learn(config, CPU).history.rows) == config.num_epochs
