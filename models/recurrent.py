"""Recurrent networks over sequences of symbols: RNN, LSTM, GRU, and minGRU.

Each reads integers (B, T) and says at every step how probable each symbol is, as logits (B, T, S).
It takes the state that an earlier piece of the same stream has left, and returns its own.

Letters: B sequences, T steps, S symbols, I inputs, H hidden units, L layers.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan as scan_over

from models.mingru import MinGRU

CellName = Literal["rnn", "lstm", "gru", "mingru"]
Initialisation = Literal["default", "orthogonal", "identity", "chrono"]
State = Tensor | tuple[Tensor, Tensor]
"""Hidden units (L, B, H); for LSTM hidden units and cells, each (L, B, H)."""


class RecurrentNetwork(nn.Module):
    """Symbols in, a recurrence over them, logits out.

    Where sequences have a condition, such as the delay of an echo, it is an input at every step,
    and once more of the output, which has a hidden layer for it: what to remember may depend on
    it, or only what to say.

    Args:
        num_symbols: S.
        cell: kind of recurrence.
        hidden_size: H.
        num_layers: L.
        embedding_size: size of the learnt vectors that stand for symbols (0: one-hot vectors).
        num_conditions: conditions are 0 to `num_conditions` - 1 (0: sequences have none).
        dropout_rate: part of what one layer hands the next, and the output, that is hidden in
            training (Zaremba et al. 2014).
        initialisation: see `initialise`.
        horizon: steps over which chrono initialisation spreads the memory.

    """

    def __init__(
        self,
        *,
        num_symbols: int,
        cell: CellName,
        hidden_size: int,
        num_layers: int = 1,
        embedding_size: int = 0,
        num_conditions: int = 0,
        dropout_rate: float = 0.0,
        initialisation: Initialisation = "default",
        horizon: int = 2,
    ):
        super().__init__()
        self.num_symbols, self.num_conditions = num_symbols, num_conditions
        self.embedding = nn.Embedding(num_symbols, embedding_size) if embedding_size else None
        input_size = (embedding_size or num_symbols) + num_conditions
        self.recurrence = recurrence(
            cell,
            input_size,
            hidden_size,
            num_layers,
            dropout_rate,
            identity=initialisation == "identity",
        )
        initialise(self.recurrence, initialisation, horizon)
        self.dropout = nn.Dropout(dropout_rate)
        self.output = nn.Sequential()
        if num_conditions:
            self.output.append(nn.Linear(hidden_size + num_conditions, hidden_size))
            self.output.append(nn.ReLU())
        self.output.append(nn.Linear(hidden_size, num_symbols))

    def forward(
        self, symbols: Tensor, conditions: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Read symbols (B, T) int64 and return logits (B, T, S) and the state after them.

        Args:
            symbols: 0 to S - 1.
            conditions: (B,) int64; needed where there are any.
            state: what the piece before has left (None: this is the beginning).

        """
        hidden, state = self.recurrence(self.encode(symbols, conditions), state)
        return self.decode(hidden, conditions), state

    def encode(self, symbols: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Return what the recurrence reads at each step, (B, T, I)."""
        if self.embedding is None:
            inputs = F.one_hot(symbols, self.num_symbols).to(next(self.parameters()).dtype)
        else:
            inputs = self.dropout(self.embedding(symbols))
        return self._with_conditions(inputs, conditions)

    def decode(self, hidden: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Return the logits (B, T, S) of hidden units (B, T, H)."""
        logits: Tensor = self.output(self._with_conditions(self.dropout(hidden), conditions))
        return logits

    def _with_conditions(self, values: Tensor, conditions: Tensor | None) -> Tensor:
        """Add one-hot conditions to (B, T, ...) at every step."""
        if not self.num_conditions:
            return values
        if conditions is None:
            raise ValueError("conditions=None: this network needs one for each sequence")
        one_hot = F.one_hot(conditions, self.num_conditions).to(values.dtype)
        return torch.cat([values, one_hot.unsqueeze(1).expand(-1, values.shape[1], -1)], dim=-1)


class Predictor(nn.Module):
    """A recurrent network as a function of one tensor, to be saved and served.

    Args:
        network: what predicts.

    """

    def __init__(self, network: RecurrentNetwork):
        super().__init__()
        self.network = network

    def forward(self, symbols: Tensor) -> Tensor:
        """Map integers (B, T) to logits (B, T, S).

        If the network has conditions, each row begins with its condition, (B, 1 + T).
        """
        conditions = None
        if self.network.num_conditions:
            conditions, symbols = symbols[:, 0], symbols[:, 1:]
        hidden = run(self.network.recurrence, self.network.encode(symbols, conditions))
        return self.network.decode(hidden, conditions)


def run(layers: nn.Module, inputs: Tensor) -> Tensor:
    """Return what a recurrence makes of inputs (B, T, I) from their beginning: (B, T, H)."""
    if torch.compiler.is_exporting() and isinstance(layers, nn.RNNBase):
        return step_by_step(layers, inputs)
    hidden: Tensor = layers(inputs)[0]
    return hidden


def step_by_step(layers: nn.RNNBase, inputs: Tensor) -> Tensor:
    """Return what torch's fused layers make of inputs (B, T, I) from their beginning: (B, T, H).

    torch.export writes the fused layers down for one number of steps, and this for any.
    """
    step, is_lstm = STEPS[layers.mode], isinstance(layers, nn.LSTM)
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


STEPS: dict[str, Any] = {
    "RNN_TANH": torch.rnn_tanh_cell,
    "RNN_RELU": torch.rnn_relu_cell,
    "LSTM": torch.lstm_cell,
    "GRU": torch.gru_cell,
}


@torch.inference_mode()
def generate(
    network: RecurrentNetwork,
    prompt: Tensor,
    num_steps: int,
    temperatures: Tensor,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Let a network go on with a text by itself.

    Args:
        network: see `continuation`, as for what is not named here.
        prompt: (T,) int64, at least one symbol.
        num_steps: symbols to add.
        temperatures: (B,).
        generator: what is drawn from.

    Returns:
        (B, num_steps) int64.

    """
    drawn = continuation(network, prompt, temperatures, generator)
    return torch.cat(list(itertools.islice(drawn, num_steps)), dim=1)


def continuation(
    network: RecurrentNetwork,
    prompt: Tensor,
    temperatures: Tensor,
    generator: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """Yield what a network says next, without end; what it has said is what it reads.

    Args:
        network: without conditions.
        prompt: (T,) int64, at least one symbol.
        temperatures: (B,), what logits are divided by for each continuation: below 1 the probable
            becomes more so; at 0 the most probable symbol is taken.
        generator: what is drawn from, on the CPU.

    Yields:
        (B, 1) int64, one symbol of each continuation.

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
        # Less the highest, which changes no probability and lets no exponential overflow.
        weights = ((last - last.amax(-1, keepdim=True)) / scale).exp()
        symbols = torch.multinomial(weights, 1, generator=generator)
        yield symbols


def recurrence(
    cell: CellName,
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    dropout_rate: float = 0.0,
    *,
    identity: bool = False,
) -> nn.Module:
    """Build a stack of layers that maps (B, T, I) and a state to (B, T, H) and a state.

    The simple cell takes rectified linear units where it is to start as the identity, and the
    hyperbolic tangent elsewhere.
    """
    dropout = dropout_rate if num_layers > 1 else 0.0
    if cell == "mingru":
        return MinGRU(input_size, hidden_size, num_layers, dropout)
    if cell == "rnn":
        nonlinearity = "relu" if identity else "tanh"
        return nn.RNN(
            input_size, hidden_size, num_layers, nonlinearity, batch_first=True, dropout=dropout
        )
    layers = nn.LSTM if cell == "lstm" else nn.GRU
    return layers(input_size, hidden_size, num_layers, batch_first=True, dropout=dropout)


FOR_CELLS: dict[Initialisation, tuple[CellName, ...]] = {
    "default": ("rnn", "lstm", "gru", "mingru"),
    "orthogonal": ("rnn", "lstm", "gru"),
    "identity": ("rnn",),
    "chrono": ("lstm", "gru", "mingru"),
}
"""Which kinds of cells can be initialised how."""


def initialise(layers: nn.Module, how: Initialisation, horizon: int) -> None:
    """Set the weights of a recurrence.

    Args:
        layers: as `recurrence` builds them.
        how: `default` is torch's, uniform and small. `orthogonal` makes recurrent weights rotate,
            so that what is remembered neither grows nor shrinks (Saxe et al. 2014), and opens the
            forget gates of an LSTM (Jozefowicz et al. 2015). `identity` keeps it as it is (Le et
            al. 2015). `chrono` is orthogonal, too, with gates that remember for 1 to `horizon`
            steps (Tallec & Ollivier 2018, eq. 16).
        horizon: steps, 3 or more for `chrono`.

    """
    if how == "default":
        return
    if isinstance(layers, MinGRU):
        for layer in layers.layers:
            gate_bias, _ = layer.get_parameter("bias").data.chunk(2)
            gate_bias.copy_(-remembering(len(gate_bias), horizon))
    elif isinstance(layers, nn.RNNBase):
        for weights in layers.all_weights:
            _initialise_layer([w.data for w in weights], layers, how, horizon)


def _initialise_layer(
    weights: list[Tensor], layers: nn.RNNBase, how: Initialisation, horizon: int
) -> None:
    """Set one layer's weights: of the input, recurrent, and the biases of both."""
    # Each holds a block of H rows for each gate.
    of_input, recurrent, bias, other_bias = (w.split(layers.hidden_size) for w in weights)
    for block in of_input:
        nn.init.xavier_uniform_(block)
    for block in recurrent:
        if how == "identity":
            nn.init.eye_(block)
        else:
            nn.init.orthogonal_(block)
    for block in (*bias, *other_bias):
        nn.init.zeros_(block)
    # LSTM: input, forget, cell and output gate; GRU: reset, update and new.
    if how == "chrono":
        bias[1].copy_(remembering(layers.hidden_size, horizon))
    if isinstance(layers, nn.LSTM):
        if how == "chrono":
            bias[0].copy_(-bias[1])
        else:
            bias[1].fill_(1)


def remembering(count: int, horizon: int) -> Tensor:
    """Draw biases, (count,), of gates that remember for 1 to `horizon` - 1 steps, uniformly."""
    return (1 + (horizon - 2) * torch.rand(count)).log()
