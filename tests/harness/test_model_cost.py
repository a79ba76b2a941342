"""Parameters and floating-point operations of every kind of model, against a count by hand."""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from harness.training.metrics import model_cost
from models.choices import CELLS, ENCODERS, CellName, EncoderName, PoolingName
from models.cnn import PlainCNN, ResidualCNN, SeparableCNN
from models.random_convolutions import RandomConvolutions
from models.recurrent import ExportableRNN
from models.s6 import NUM_STATES, S6
from models.sequence_classifier import ExportableSequenceClassifier
from models.sequence_encoders import AttentionBlock
from models.stacked import StackedLinear
from tests.models.small import mixture_of_experts, recurrent_network, sequence_classifier

SYMBOLS = torch.randint(5, (2, 7), generator=torch.Generator().manual_seed(0))
POINTS, IMAGES = torch.zeros(2, 2), torch.zeros(2, 3, 64, 64)
CNN: dict[str, Any] = {"width": 4, "depth": 2, "num_stages": 3}
CNN |= {"dropout_rate": 0.0, "num_classes": 2}


def network(cell: CellName, num_layers: int) -> nn.Module:
    embedding_size = 3 if num_layers > 1 else 0
    return ExportableRNN(
        recurrent_network(cell, num_layers=num_layers, embedding_size=embedding_size)
    )


def classifier(encoder: EncoderName, pooling: PoolingName) -> nn.Module:
    return ExportableSequenceClassifier(sequence_classifier(encoder, pooling))


def mixture(gate_hidden: int, top_k: int) -> nn.Module:
    return mixture_of_experts(3, gate_hidden=gate_hidden, top_k=top_k)


Build = Callable[[], nn.Module]
NETWORKS: list[Build] = [partial(network, *each) for each in product(CELLS, (1, 2))]
CLASSIFIERS: list[Build] = [partial(classifier, each, "last") for each in ENCODERS]
CLASSIFIERS += [partial(classifier, "gru", each) for each in get_args(PoolingName)]
MIXTURES: list[Build] = [partial(mixture, *each) for each in product((0, 4), (0, 1))]
CNNS: list[Build] = [partial(each, **CNN) for each in (PlainCNN, ResidualCNN, SeparableCNN)]
MODELS: list[tuple[Build, Tensor]] = [
    *((build, SYMBOLS) for build in NETWORKS + CLASSIFIERS),
    *((build, POINTS) for build in MIXTURES),
    *((build, IMAGES) for build in CNNS),
]


def operations(module: Any, inputs: Any, output: Any) -> int | None:
    """Return twice the multiplications of a layer with these inputs and outputs, by hand."""
    x: Tensor = inputs[0]
    if isinstance(module, nn.Linear):
        return int(2 * output.numel() * module.in_features)
    if isinstance(module, StackedLinear):  # columns: (in, B) to (out, B)
        return int(2 * output.numel() * x.shape[-2])
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        return int(2 * output.numel() * module.weight[0].numel())
    if isinstance(module, RandomConvolutions):
        return 2 * x.shape[0] * x.shape[1] * module.kernels.numel()
    if isinstance(module, nn.RNNBase):  # at each step: all gates, from the inputs and the state
        gates = {"LSTM": 4, "GRU": 3}.get(module.mode, 1)
        sizes = [module.input_size] + [module.hidden_size] * (module.num_layers - 1)
        rows = gates * module.hidden_size
        per_step = sum(2 * rows * (size + module.hidden_size) for size in sizes)
        return int(x.shape[0] * x.shape[1] * per_step)
    if isinstance(module, AttentionBlock):  # beside its layers: each step with each, twice
        return 2 * 2 * x.shape[0] * x.shape[1] ** 2 * x.shape[2]
    if isinstance(module, S6):  # beside its layers: what is read of the states
        return 2 * x.shape[0] * x.shape[1] * NUM_STATES * module.hidden_size
    if isinstance(module, nn.Embedding):
        return 0
    return None


@pytest.mark.parametrize(("build", "example"), MODELS)
def test_operations_are_those_counted_by_hand(build: Build, example: Tensor) -> None:
    torch.manual_seed(0)
    model = build().eval()
    total, counted = 0, set[int]()

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
