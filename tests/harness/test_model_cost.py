"""Parameters and floating-point operations of every kind of model, against a count by hand."""

import itertools
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from harness.training.metrics import model_cost
from models.choices import CELLS, ENCODERS, PoolingName
from models.cnn import PlainCNN, ResidualCNN, SeparableCNN
from models.moe import StackedLinear
from models.recurrent import ExportableRNN
from models.sequence_classifier import ExportableSequenceClassifier
from models.sequence_encoders import AttentionBlock
from tests.models.small import mixture_of_experts, recurrent_network, sequence_classifier

SYMBOLS = torch.randint(5, (2, 7), generator=torch.Generator().manual_seed(0))
POINTS, IMAGES = torch.zeros(2, 2), torch.zeros(2, 3, 64, 64)
CNN: dict[str, Any] = {"width": 4, "depth": 2, "num_stages": 3}
CNN |= {"dropout_rate": 0.0, "num_classes": 2}
MODELS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    **{
        f"network of {cell}, {layers} layers": (
            lambda cell=cell, layers=layers: ExportableRNN(
                recurrent_network(cell, num_layers=layers, embedding_size=3 * (layers - 1))
            ),
            SYMBOLS,
        )
        for cell, layers in itertools.product(CELLS, (1, 2))
    },
    **{
        f"classifier with {encoder}, {pooling}": (
            lambda encoder=encoder, pooling=pooling: ExportableSequenceClassifier(
                sequence_classifier(encoder, pooling)
            ),
            SYMBOLS,
        )
        for encoder, pooling in [
            *itertools.product(ENCODERS, ["last"]),
            *itertools.product(["gru"], get_args(PoolingName)),
        ]
    },
    **{
        each.__name__: (lambda each=each: each(**CNN), IMAGES)  # type: ignore[misc]
        for each in (PlainCNN, ResidualCNN, SeparableCNN)
    },
    **{
        f"mixture, {hidden} hidden units, top {top_k}": (
            lambda hidden=hidden, top_k=top_k: mixture_of_experts(
                3, gate_hidden=hidden, top_k=top_k
            ),
            POINTS,
        )
        for hidden, top_k in itertools.product((0, 4), (0, 1))
    },
}


def operations(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> int | None:
    """Return twice the multiplications of a layer with these inputs and outputs, by hand."""
    x = inputs[0] if inputs else None
    if isinstance(module, nn.Linear):
        return 2 * output.numel() * module.in_features
    if isinstance(module, StackedLinear):  # columns: (in, B) to (out, B)
        return 2 * output.numel() * x.shape[-2]
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        return 2 * output.numel() * module.weight[0].numel()
    if isinstance(module, nn.RNNBase):  # at each step: all gates, from the inputs and the state
        gates = {"LSTM": 4, "GRU": 3}.get(module.mode, 1)
        sizes = [module.input_size] + [module.hidden_size] * (module.num_layers - 1)
        rows = gates * module.hidden_size
        return sum(2 * x.shape[0] * x.shape[1] * rows * (n + module.hidden_size) for n in sizes)
    if isinstance(module, AttentionBlock):  # beside its layers: each step with each, twice
        return 2 * 2 * x.shape[0] * x.shape[1] ** 2 * x.shape[2]
    if isinstance(module, nn.Embedding):
        return 0
    return None


@pytest.mark.parametrize("name", MODELS)
def test_operations_are_those_counted_by_hand(name: str) -> None:
    build, example = MODELS[name]
    torch.manual_seed(0)
    model = build().eval()
    total, counted = 0, set()

    def add(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal total
        if (count := operations(module, inputs, output)) is not None:
            total += count
            counted.update(id(p) for p in module.parameters(recurse=False))

    for module in model.modules():
        module.register_forward_hook(add)
    with torch.no_grad():
        model(example)
    missing = [n for n, p in model.named_parameters() if p.dim() > 1 and id(p) not in counted]
    assert not missing, "`operations` does not know these"
    for module in model.modules():
        module._forward_hooks.clear()
    cost = model_cost(model, example)
    assert cost["flops_per_sample"] == total / len(example) > 0
    assert cost["num_parameters"] == sum(p.numel() for p in model.parameters())


def test_a_model_and_its_cost_written_out() -> None:
    """A convolution of 3 x 3 from 2 to 5 channels at 16 places, then 80 weights to 7 logits."""
    model = nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.Flatten(), nn.Linear(80, 7))
    cost = model_cost(model, torch.zeros(3, 2, 4, 4))
    assert cost["num_parameters"] == 2 * 5 * 9 + 5 + 80 * 7 + 7
    assert cost["flops_per_sample"] == 2 * (16 * 2 * 5 * 9) + 2 * 80 * 7
