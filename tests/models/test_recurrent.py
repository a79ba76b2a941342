"""Recurrent networks against steps written out by hand, in double precision."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from models.choices import CELLS, CELLS_FOR_INITIALISATION, CellName, Initialisation
from models.recurrent import (
    CELL_CONSTRUCTORS,
    ExportableRNN,
    build_recurrence,
    generate,
    initialise,
)
from models.s6 import NUM_STATES
from tests.models.small import recurrent_network as network

CASES = [(how, cell) for how, cells in CELLS_FOR_INITIALISATION.items() for cell in cells]


def symbols(rows: int, steps: int) -> Tensor:
    return torch.randint(0, 5, (rows, steps), generator=torch.Generator().manual_seed(1))


def rnn_step(layers: Any, x: Tensor, h: Tensor) -> Tensor:
    w, u, b, d = layers.all_weights[0]
    return torch.tanh(w @ x + b + u @ h + d)


def lstm_step(layers: Any, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    w, u, b, d = layers.all_weights[0]
    i, f, g, o = (w @ x + b + u @ state[0] + d).chunk(4)
    c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def gru_step(layers: Any, x: Tensor, h: Tensor) -> Tensor:
    w, u, b, d = layers.all_weights[0]
    (wr, wz, wn), (ur, uz, un) = (w @ x + b).chunk(3), (u @ h + d).chunk(3)
    r, z = torch.sigmoid(wr + ur), torch.sigmoid(wz + uz)
    return (1 - z) * torch.tanh(wn + r * un) + z * h


def positive(candidate: Tensor) -> Tensor:
    return torch.stack([c + 0.5 if c >= 0 else 1 / (1 + (-c).exp()) for c in candidate])


def projected(layers: Any, x: Tensor) -> Any:
    return layers.layers[0].projection.weight @ x + layers.layers[0].projection.bias


def mingru_step(layers: Any, x: Tensor, h: Tensor) -> Any:
    gate, candidate = projected(layers, x).chunk(2)
    z = 1 / (1 + (-gate).exp())
    return (1 - z) * h + z * positive(candidate)


def minlstm_step(layers: Any, x: Tensor, h: Tensor) -> Any:
    f, i, candidate = projected(layers, x).chunk(3)
    f, i = torch.sigmoid(f), torch.sigmoid(i)
    return f / (f + i) * h + i / (f + i) * positive(candidate)


def lru_step(layers: Any, u: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    cell, (_, x) = layers.layers[0], state
    b, c = cell.input_projection.weight, cell.output_projection.weight
    size = cell.log_rate.exp().neg().exp()
    eigenvalue = size * torch.complex(cell.log_phase.exp().cos(), cell.log_phase.exp().sin())
    x = eigenvalue * x + cell.log_scale.exp() * (torch.complex(b[::2], b[1::2]) @ (u + 0j))
    y = (torch.complex(c[:, ::2], -c[:, 1::2]) @ x).real + cell.skip.weight @ u
    y = y / 2 * (1 + torch.erf(y / math.sqrt(2)))
    value, gate = (cell.glu.weight @ y + cell.glu.bias).chunk(2)
    return value * torch.sigmoid(gate), x


def s6_step(layers: Any, u: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    cell, (_, h) = layers.layers[0], state
    projected = cell.input_projection.weight @ u + cell.input_projection.bias
    size, num_states = h.shape
    x, z, d = (projected[k * size : (k + 1) * size] for k in range(3))
    b, c = projected[3 * size :].chunk(2)
    b, c = torch.complex(b[::2], b[1::2]), torch.complex(c[::2], c[1::2])
    d = torch.maximum((1 + d.exp()).log() - 0.01, ZEROS)
    a = torch.complex(-cell.log_decay.exp(), cell.frequency).reshape(num_states, size).T
    decay = (d[:, None] * a).exp()
    h = decay * h + (decay - 1) / a * b * x[:, None]
    y = (h @ c.conj()).real + cell.skip * x
    gated = y * z / (1 + (-z).exp())
    return cell.output_projection.weight @ gated + cell.output_projection.bias, h


EQUATIONS: dict[str, Any] = {
    "rnn": rnn_step,
    "lstm": lstm_step,
    "gru": gru_step,
    "mingru": mingru_step,
    "minlstm": minlstm_step,
    "lru": lru_step,
    "s6": s6_step,
}
ZEROS = torch.zeros(4, dtype=torch.float64)
BEGINNINGS: dict[str, Any] = {
    "lstm": (ZEROS, ZEROS),
    "lru": (ZEROS, ZEROS + 0j),
    "s6": (ZEROS, torch.zeros(4, NUM_STATES, dtype=torch.complex128)),
}
"""Of 4 units; of others, it is zeros."""


def by_equations(cell: CellName, layers: Any, x: Tensor) -> Tensor:
    """Return the hidden units (B, T, 4) for inputs (B, T, I), one step of one row at a time."""
    state: Any
    rows: list[Tensor] = []
    for row in x:
        state = BEGINNINGS.get(cell, ZEROS)
        for inputs in row:
            state = EQUATIONS[cell](layers, inputs, state)
            rows.append(state[0] if isinstance(state, tuple) else state)
    outputs: Tensor = torch.stack(rows).unflatten(0, x.shape[:2])
    return outputs


def test_every_cell_has_a_constructor_and_equations() -> None:
    missing = set(CELLS) - set(CELL_CONSTRUCTORS)
    assert not missing, f"add {missing} to CELL_CONSTRUCTORS in models/recurrent.py"
    missing = set(CELLS) - set(EQUATIONS)
    assert not missing, f"add one step of {missing} to EQUATIONS in tests/models/test_recurrent.py"


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_is_its_equations_and_so_are_its_gradients(cell: CellName) -> None:
    torch.manual_seed(0)
    layers = build_recurrence(
        cell, 3, 4, num_layers=1, dropout_rate=0.0, initialisation="default", horizon=3
    ).double()
    x = 3 * torch.randn(2, 100, 3, dtype=torch.float64)
    weights = torch.randn(2, 100, 4, dtype=torch.float64)
    expected = by_equations(cell, layers, x)
    hidden, _ = layers(x)
    torch.testing.assert_close(hidden, expected, rtol=1e-10, atol=1e-10)
    parameters = list(layers.parameters())
    gradients = (
        torch.autograd.grad((weights * outputs).sum(), parameters) for outputs in (hidden, expected)
    )
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("cell", "num_layers"), itertools.product(CELLS, (1, 2)))
@torch.no_grad()
def test_a_stream_in_pieces_is_the_stream_as_a_whole(cell: CellName, num_layers: int) -> None:
    model = network(cell, num_layers=num_layers, num_conditions=3, embedding_size=4)
    whole, conditions = symbols(2, 150), torch.tensor([2, 0])
    expected, end = model(whole, conditions)
    state: Any = None
    parts = []
    for piece in whole.split([*[1] * 20, 7, 73, 50], dim=1):
        logits, state = model(piece, conditions, state)
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, dim=1), expected, rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(state, end, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_s6_holds_its_state_to_the_bit_while_its_step_sizes_are_zero() -> None:
    layers: Any = network("s6", hidden_size=4).recurrence
    _, before = layers(torch.randn(2, 3, 5))
    layers.layers[0].input_projection.bias.data[8:12] = -20  # of the step sizes
    _, after = layers(torch.randn(2, 5000, 5), before)
    assert before.abs().min() > 0
    assert after.equal(before)


@pytest.mark.parametrize(("cell", "units"), itertools.product(CELLS, (1, 5)))
def test_odd_numbers_of_units_read_in_pieces_as_at_once(cell: CellName, units: int) -> None:
    model = network(cell, hidden_size=units, num_layers=2)
    read = symbols(2, 9)
    whole, _ = model(read)
    whole.sum().backward()
    first, state = model(read[:, :4])
    second, _ = model(read[:, 4:], state=state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_logits_depend_on_the_past_alone(cell: CellName) -> None:
    model = network(cell)
    one, other = symbols(1, 10), symbols(1, 10)
    other[:, 6] = (other[:, 6] + 1) % 5
    a, b = model(one)[0], model(other)[0]
    torch.testing.assert_close(a[:, :6], b[:, :6])
    assert (a[:, 6:] - b[:, 6:]).abs().amin(1).max() > 0


@pytest.mark.parametrize(("how", "cell"), CASES)
def test_gradients_reach_every_parameter(how: Initialisation, cell: CellName) -> None:
    model = network(
        cell, num_layers=2, num_conditions=3, embedding_size=4, initialisation=how, horizon=20
    ).train()
    model(symbols(3, 12), torch.arange(3))[0].square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("cell", CELLS)
def test_a_few_sequences_can_be_overfitted(cell: CellName) -> None:
    model = network(cell, hidden_size=32).train()
    inputs, targets = symbols(8, 6), torch.randint(0, 5, (8,))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs)[0][:, -1], targets).backward()
        optimizer.step()
    assert (model(inputs)[0][:, -1].argmax(-1) == targets).all()


@pytest.mark.parametrize("cell", CELLS_FOR_INITIALISATION["orthogonal"])
def test_orthogonal_weights_preserve_norms(cell: CellName) -> None:
    layers: Any = network(cell, num_layers=2, initialisation="orthogonal").recurrence
    for recurrent in (layers.weight_hh_l0, layers.weight_hh_l1):
        for block in recurrent.split(6):
            torch.testing.assert_close(block @ block.T, torch.eye(6))
    forget = layers.bias_ih_l0.split(6)[1:2] if cell == "lstm" else ()
    assert all((bias == 1).all() for bias in forget)


def test_identity_weights_preserve_the_state() -> None:
    layers: Any = network("rnn", initialisation="identity").recurrence
    nn.init.zeros_(layers.weight_ih_l0)
    state = torch.rand(1, 2, 6)
    _, after = layers(torch.rand(2, 50, 5), state)
    torch.testing.assert_close(after, state)


@pytest.mark.parametrize("cell", CELLS_FOR_INITIALISATION["chrono"])
@torch.no_grad()
def test_chrono_gates_remember_for_1_to_horizon_steps(cell: CellName) -> None:
    """A gate that keeps k / (1 + k) forgets over about 1 + k steps."""
    layers: Any = network(cell, hidden_size=400, initialisation="chrono", horizon=50).recurrence
    if cell == "mingru":
        kept = torch.sigmoid(-layers.layers[0].projection.bias[:400])
    elif cell == "minlstm":
        forget, new = torch.sigmoid(layers.layers[0].projection.bias[:800]).chunk(2)
        kept = forget / (forget + new)
    elif cell == "lru":
        kept = (-layers.layers[0].log_rate.exp()).exp()
    elif cell == "s6":
        steps = (1 + layers.layers[0].input_projection.bias[800:1200].exp()).log() - 0.01
        kept = (-steps / 2).exp()
    else:
        assert cell in ("lstm", "gru"), f"add here how much the gates of {cell} keep"
        kept = torch.sigmoid(layers.bias_ih_l0.split(400)[1] + layers.bias_hh_l0.split(400)[1])
    spans = kept / (1 - kept)
    assert spans.min() == pytest.approx(1, abs=1)
    assert spans.max() == pytest.approx(49, abs=1)
    assert spans.mean() == pytest.approx(25, abs=2.5)
    if cell == "lstm":
        torch.testing.assert_close(layers.bias_ih_l0[:400], -layers.bias_ih_l0[400:800])


@pytest.mark.parametrize(("rate", "of_embedding"), [(0.0, 0.5), (0.5, 0.0), (0.5, None)])
def test_dropout_of_the_embedding_has_a_rate_of_its_own(
    rate: float, of_embedding: float | None
) -> None:
    rates: dict[str, Any] = {"dropout_rate": rate, "embedding_dropout_rate": of_embedding}
    model: Any = network(embedding_size=3, **rates).train()
    embedded, inputs = model.embedding(symbols(8, 200)), model.encode(symbols(8, 200))
    if of_embedding == 0:
        assert inputs.equal(embedded)
    else:  # what is left is as much larger as there are fewer
        kept = inputs != 0
        torch.testing.assert_close(inputs[kept], 2 * embedded[kept])
        assert kept.float().mean().item() == pytest.approx(0.5, abs=0.05)
    hidden = torch.ones(1, 1, 6)
    logits = {tuple(model.decode(hidden).flatten().tolist()) for _ in range(20)}
    assert (len(logits) == 1) == (rate == 0)


def test_an_initialisation_that_a_cell_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="initialisation=identity is not defined for cell=gru"):
        network("gru", initialisation="identity")
    with pytest.raises(TypeError, match=r"add to models\.recurrent\.initialise .* for Linear"):
        initialise(nn.Linear(2, 2), "chrono", 5)


def test_conditions_are_needed_where_there_are_any() -> None:
    with pytest.raises(ValueError, match="conditions=None"):
        network(num_conditions=3)(symbols(1, 2))


@pytest.mark.parametrize(
    ("cell", "num_conditions"), [(cell, 3 * (i % 2 == 0)) for i, cell in enumerate(CELLS)]
)
@torch.no_grad()
def test_exported_it_takes_any_number_of_sequences_and_steps(
    cell: CellName, num_conditions: int
) -> None:
    model = ExportableRNN(network(cell, num_layers=2, num_conditions=num_conditions)).eval()
    exported = torch.export.export(
        model, (symbols(2, 9).clamp(max=2),), dynamic_shapes=({0: Dim.DYNAMIC, 1: Dim.DYNAMIC},)
    ).module()
    for rows, steps in ((1, 4), (3, 150)):
        inputs = symbols(rows, steps).clamp(max=2)
        torch.testing.assert_close(exported(inputs), model(inputs))
    if num_conditions:
        expected, _ = model.network(inputs[:, 1:], inputs[:, 0])
        torch.testing.assert_close(model(inputs), expected)


def test_samples_follow_the_probabilities() -> None:
    model = network()
    prompt, temperature = torch.tensor([1, 2]), 0.7
    logits = model(prompt.unsqueeze(0))[0][0, -1]
    expected = (logits / temperature).softmax(-1)
    samples = generate(model, prompt, 1, torch.full((20_000,), temperature))
    frequencies = torch.bincount(samples.flatten(), minlength=5) / 20_000
    torch.testing.assert_close(frequencies, expected, rtol=0, atol=0.02)


@torch.no_grad()
def test_at_temperature_zero_the_most_probable_symbol_is_generated() -> None:
    model, text = network(), [1, 2]
    generated = generate(model, torch.tensor(text), 10, torch.zeros(1))
    for _ in range(10):
        text.append(int(model(torch.tensor([text]))[0][0, -1].argmax()))
    assert generated[0].tolist() == text[2:]


def test_samples_repeat_with_the_seed() -> None:
    temperatures = torch.tensor([0.5, 1.0, 2.0])

    def sample(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return generate(network(), torch.tensor([0]), 30, temperatures, generator)

    assert torch.equal(sample(4), sample(4))
    assert not torch.equal(sample(4), sample(5))


def test_a_negative_temperature_is_refused() -> None:
    with pytest.raises(ValueError, match="temperatures"):
        generate(network(), torch.tensor([0]), 1, torch.tensor([-0.1]))
