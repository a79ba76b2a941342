"""Layers of many models at once: copies with initialisations of their own.

Every operation broadcasts over leading axes of the parameters. A model built with
`stack=(32,)` therefore is 32 models with 32 initialisations, trained in one computation.

Letters for dimensions: S a stack of independent copies of a model (often none), B batch.
"""

import math

import torch
from torch import Tensor, nn


class StackedLinear(nn.Module):
    """Affine maps, one for each copy in the stack, initialised as `torch.nn.Linear` is.

    `weight` is (*S, out_features, in_features) and `bias` (*S, out_features), both float32.
    """

    def __init__(self, in_features: int, out_features: int, stack: tuple[int, ...] = ()):
        super().__init__()
        bound = 1 / math.sqrt(in_features)
        self.weight = nn.Parameter(torch.empty(*stack, out_features, in_features))
        self.bias = nn.Parameter(torch.empty(*stack, out_features))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Map columns x, (in, B) or (*S, in, B), to (*S, out, B)."""
        return self.weight @ x + self.bias.unsqueeze(-1)


class MLP(nn.Module):
    """A multilayer perceptron with one hidden layer of tanh units; a linear map without them."""

    def __init__(
        self, in_features: int, hidden_units: int, out_features: int, stack: tuple[int, ...] = ()
    ):
        super().__init__()
        if hidden_units:
            self.layers: nn.Module = nn.Sequential(
                StackedLinear(in_features, hidden_units, stack),
                nn.Tanh(),
                StackedLinear(hidden_units, out_features, stack),
            )
        else:
            self.layers = StackedLinear(in_features, out_features, stack)

    def forward(self, x: Tensor) -> Tensor:
        """Map points x, (B, D) or (*S, B, D), to (*S, out_features, B)."""
        outputs: Tensor = self.layers(x.mT)
        return outputs


def select_from_stack(state: dict[str, Tensor], index: int) -> dict[str, Tensor]:
    """Return the state dict of one model of a stack (with one leading axis)."""
    return {name: tensor[index].clone() for name, tensor in state.items()}
