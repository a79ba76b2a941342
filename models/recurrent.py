"""Recurrent networks over sequences of symbols: RNN, LSTM, GRU, and cells that are scanned.

Each maps integers (B, T) to logits (B, T, S) of a distribution over the symbols at every step. It
takes the state after an earlier piece of the same stream, and returns the state after this one.

Letters: B sequences, T steps, S symbols, I inputs, H hidden units, L layers.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan as scan_over

from models.choices import CellName, Initialisation, suits
from models.lru import LRU
from models.minimal_cells import MinGRU, MinLSTM
from models.ngram_logits import NGramLogits
from models.s6 import S6
from models.scan_layers import ScanLayers

State = Tensor | tuple[Any, ...]
"""Hidden state (L, B, H); of an LSTM the hidden and the cell state, each (L, B, H).

Of an LRU (L, B, H, 2), of S6 (L, B, N, H, 2): the real and imaginary parts of complex numbers. A
network with n-grams has a pair: this state, and the last symbols.
"""


class RecurrentNetwork(nn.Module):
    """Recurrent layers over symbols, with an output layer at every step.

    Where sequences have a condition, such as the delay of an echo, it is an input of the recurrence
    at every step and of the output, which has a hidden layer then: what to remember may depend on
    the condition, or what to predict.

    Args:
        num_symbols, hidden_size, num_layers: S, H, L.
        cell: kind of recurrence.
        embedding_size: size of the embedding of symbols (0: one-hot vectors).
        num_conditions: conditions are 0 to `num_conditions` - 1 (0: sequences have none).
        dropout_rate: probability of dropout between layers and before the output
            (Zaremba et al. 2014).
        initialisation: see `initialise`.
        horizon: longest memory of the chrono initialisation, in steps.
        embedding_dropout_rate: probability of dropout on the embedding (None: `dropout_rate`).
        longest_ngram: n-grams up to this length add to the logits (below 2: none); see
            `NGramLogits`.

    Raises:
        ValueError: the initialisation is not defined for the cell.

    """

    def __init__(
        self,
        *,
        num_symbols: int,
        cell: CellName,
        hidden_size: int,
        num_layers: int,
        embedding_size: int,
        num_conditions: int = 0,
        dropout_rate: float,
        initialisation: Initialisation,
        horizon: int,
        embedding_dropout_rate: float | None = None,
        longest_ngram: int = 0,
    ):
        super().__init__()
        self.num_symbols, self.num_conditions = num_symbols, num_conditions
        self.embedding = nn.Embedding(num_symbols, embedding_size) if embedding_size else None
        input_size = (embedding_size or num_symbols) + num_conditions
        self.recurrence = build_recurrence(
            cell, input_size, hidden_size, num_layers, dropout_rate, initialisation, horizon
        )
        self.dropout = nn.Dropout(dropout_rate)
        rate = dropout_rate if embedding_dropout_rate is None else embedding_dropout_rate
        self.embedding_dropout = nn.Dropout(rate)
        self.output = nn.Sequential()
        if num_conditions:
            self.output.append(nn.Linear(hidden_size + num_conditions, hidden_size))
            self.output.append(nn.ReLU())
        self.output.append(nn.Linear(hidden_size, num_symbols))
        self.ngrams = NGramLogits(num_symbols, longest_ngram) if longest_ngram > 1 else None

    def forward(
        self, symbols: Tensor, conditions: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Map symbols (B, T) int64 to logits (B, T, S) and the state after them.

        Without a `state`, that after the previous piece, the sequence begins here.

        Raises:
            ValueError: the network has conditions, (B,) int64, and none are given.

        """
        if self.ngrams is None:
            hidden, state = self.recurrence(self.encode(symbols, conditions), state)
            return self.decode(hidden, conditions), state
        state, before = state or (None, None)
        hidden, state = self.recurrence(self.encode(symbols, conditions), state)
        direct, before = self.ngrams(symbols, before)
        return self.decode(hidden, conditions) + direct, (state, before)

    def encode(self, symbols: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Return the inputs of the recurrence, (B, T, I)."""
        if self.embedding is None:
            inputs = F.one_hot(symbols, self.num_symbols).to(next(self.parameters()).dtype)
        else:
            inputs = self.embedding_dropout(self.embedding(symbols))
        return self._with_conditions(inputs, conditions)

    def decode(self, hidden: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Map hidden units (B, T, H) to logits (B, T, S)."""
        logits: Tensor = self.output(self._with_conditions(self.dropout(hidden), conditions))
        return logits

    def direct(self, symbols: Tensor) -> Tensor | float:
        """Return the logits (B, T, S) that n-grams add from the first symbol on; 0 without them."""
        return 0.0 if self.ngrams is None else self.ngrams(symbols)[0]

    def _with_conditions(self, values: Tensor, conditions: Tensor | None) -> Tensor:
        """Append one-hot conditions to values (B, T, ...) at every step."""
        if not self.num_conditions:
            return values
        if conditions is None:
            raise ValueError("conditions=None: this network needs one for each sequence")
        one_hot = F.one_hot(conditions, self.num_conditions).to(values.dtype)
        return torch.cat([values, one_hot.unsqueeze(1).expand(-1, values.shape[1], -1)], dim=-1)


class ExportableRNN(nn.Module):
    """A recurrent network as a function of one tensor, for export and serving."""

    def __init__(self, network: RecurrentNetwork):
        super().__init__()
        self.network = network

    def forward(self, symbols: Tensor) -> Tensor:
        """Map integers (B, T), or (B, 1 + T) after conditions (B, 1), to logits (B, T, S).

        Raises:
            RuntimeError: a symbol or a condition is out of range; after export also if a condition
                is followed by a single symbol.

        """
        conditions = None
        if self.network.num_conditions:
            conditions, symbols = symbols[:, 0], symbols[:, 1:]
            check_range(conditions, self.network.num_conditions, "first number, the condition,")
        check_range(symbols, self.network.num_symbols, "symbol")
        hidden = apply_recurrence(self.network.recurrence, self.network.encode(symbols, conditions))
        return self.network.decode(hidden, conditions) + self.network.direct(symbols)


def check_range(numbers: Tensor, count: int, name: str) -> None:
    """Raise a RuntimeError, also after export, unless all numbers are from 0 to `count` - 1."""
    is_valid = (numbers >= 0) & (numbers < count)
    message = f"invalid input: a {name} that is not one of 0 to {count - 1}"
    torch._assert_async(is_valid.all(), message)


STEP_FUNCTIONS = {
    "RNN_TANH": torch.rnn_tanh_cell,
    "RNN_RELU": torch.rnn_relu_cell,
    "LSTM": torch.lstm_cell,
    "GRU": torch.gru_cell,
}


def apply_recurrence(layers: nn.Module, inputs: Tensor) -> Tensor:
    """Map inputs (B, T, I) to hidden units (B, T, H) from a state of zeros.

    torch.export fixes the number of steps of torch's fused layers, and leaves that of a scan open,
    which therefore replaces them there.
    """
    if not (torch.compiler.is_exporting() and isinstance(layers, nn.RNNBase)):
        hidden: Tensor = layers(inputs)[0]
        return hidden
    step: Any = STEP_FUNCTIONS[layers.mode]
    is_lstm = isinstance(layers, nn.LSTM)
    hidden = inputs
    for weights in layers.all_weights:
        zeros = hidden.new_zeros(hidden.shape[0], layers.hidden_size)

        def advance(
            state: Any, x: Tensor, weights: Sequence[Tensor] = weights
        ) -> tuple[Any, Tensor]:
            state = step(x, state, *weights)
            return state, (state[0] if is_lstm else state).clone()

        _, hidden = scan_over(advance, (zeros, zeros.clone()) if is_lstm else zeros, hidden, dim=1)
    return hidden


@torch.inference_mode()
def generate(
    network: RecurrentNetwork,
    prompt: Tensor,
    num_steps: int,
    temperatures: Tensor,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return the first `num_steps` symbols of `continuation`, (B, num_steps) int64."""
    samples = continuation(network, prompt, temperatures, generator)
    return torch.cat(list(itertools.islice(samples, num_steps)), dim=1)


def continuation(
    network: RecurrentNetwork,
    prompt: Tensor,
    temperatures: Tensor,
    generator: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """Sample symbols (B, 1) int64 without end; each sampled symbol is the next input.

    Args:
        network: without conditions.
        prompt: (T,) int64, at least one symbol.
        temperatures: (B,), the divisor of the logits of each continuation: below 1 the
            distribution is sharper; at 0 the most probable symbol is taken.
        generator: source of random numbers, on the CPU.

    Raises:
        ValueError: a temperature is negative.

    """
    if (temperatures < 0).any():
        raise ValueError(f"temperatures={temperatures.tolist()}: at least 0")
    scale = temperatures.clamp(min=1e-6).unsqueeze(-1)
    symbols, state = prompt.expand(len(temperatures), -1), None
    while True:
        with torch.inference_mode():
            logits, state = network(symbols, state=state)
        last = logits[:, -1]
        # Subtracting the largest logit changes no probability and prevents overflow.
        weights = ((last - last.amax(-1, keepdim=True)) / scale).exp()
        symbols = torch.multinomial(weights, 1, generator=generator)
        yield symbols


CELL_CONSTRUCTORS: dict[CellName, Callable[..., nn.Module]] = {
    "rnn": partial(nn.RNN, batch_first=True),
    "lstm": partial(nn.LSTM, batch_first=True),
    "gru": partial(nn.GRU, batch_first=True),
    "mingru": partial(ScanLayers, MinGRU),
    "minlstm": partial(ScanLayers, MinLSTM),
    "lru": partial(ScanLayers, LRU),
    "s6": partial(ScanLayers, S6),
}
"""What builds the layers of each cell from input_size, hidden_size, num_layers and dropout.

The layers map (B, T, I) and a state (or None) to (B, T, H) and the state after it.
"""


def build_recurrence(
    cell: CellName,
    input_size: int,
    hidden_size: int,
    num_layers: int,
    dropout_rate: float,
    initialisation: Initialisation,
    horizon: int,
) -> nn.Module:
    """Build and initialise recurrent layers: (B, T, I) and a state to (B, T, H) and a state.

    The simple cell has rectified linear units where it is initialised with the identity, and tanh
    units otherwise.

    Raises:
        ValueError: the initialisation is not defined for the cell.

    """
    if not suits(cell, initialisation):
        raise ValueError(f"initialisation={initialisation} is not defined for cell={cell}")
    extra = {"nonlinearity": "relu"} if initialisation == "identity" else {}
    dropout = dropout_rate if num_layers > 1 else 0.0
    layers = CELL_CONSTRUCTORS[cell](input_size, hidden_size, num_layers, dropout=dropout, **extra)
    initialise(layers, initialisation, horizon)
    return layers


def initialise(layers: nn.Module, initialisation: Initialisation, horizon: int) -> None:
    """Set the weights of recurrent layers.

    Args:
        layers: as `CELL_CONSTRUCTORS` build them.
        initialisation: `default` is torch's, uniform and small. `orthogonal` recurrent weights
            preserve the norm of the state (Saxe et al. 2014); the forget gates of an LSTM start
            open (Jozefowicz et al. 2015). `identity` recurrent weights preserve the state itself
            (Le et al. 2015). `chrono` is for memories of 1 to `horizon` - 1 steps: those of gates,
            by their biases (Tallec & Ollivier 2018, eq. 16; LSTM and GRU are orthogonal, too), of
            eigenvalues or of step sizes.
        horizon: steps, 3 or more for `chrono`.

    Raises:
        TypeError: nothing here says how layers of this type are initialised.

    """
    if initialisation == "default":
        return
    layer: Any
    if isinstance(layers, ScanLayers):
        for layer in layers.layers:
            layer.remember(chrono_biases(layer.hidden_size, horizon).exp())
    elif isinstance(layers, nn.RNNBase):
        for weights in layers.all_weights:
            _initialise_layer([w.data for w in weights], layers, initialisation, horizon)
    else:
        where = f"models.recurrent.initialise what it is for {type(layers).__name__}"
        raise TypeError(f"initialisation={initialisation}: add to {where}")


def _initialise_layer(
    weights: list[Tensor], layers: nn.RNNBase, initialisation: Initialisation, horizon: int
) -> None:
    """Set the input weights, recurrent weights, input biases and recurrent biases of one layer."""
    recurrent = nn.init.eye_ if initialisation == "identity" else nn.init.orthogonal_
    functions = (nn.init.xavier_uniform_, recurrent, nn.init.zeros_, nn.init.zeros_)
    for function, parameter in zip(functions, weights, strict=True):
        for block in parameter.split(layers.hidden_size):  # H rows for each gate
            function(block)
    # LSTM: input, forget, cell and output gate; GRU: reset, update and new.
    bias, is_lstm = weights[2].split(layers.hidden_size), isinstance(layers, nn.LSTM)
    if initialisation == "chrono":
        bias[1].copy_(chrono_biases(layers.hidden_size, horizon))
        if is_lstm:
            bias[0].copy_(-bias[1])
    elif is_lstm:
        bias[1].fill_(1)


def chrono_biases(count: int, horizon: int) -> Tensor:
    """Sample gate biases, (count,), with memories uniform from 1 to `horizon` - 1 steps."""
    return (1 + (horizon - 2) * torch.rand(count)).log()
