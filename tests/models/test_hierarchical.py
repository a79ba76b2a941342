"""The tree of gates: products along paths, its posterior and M-step, and the smallest tree."""

import itertools
import math

import numpy as np
import pytest
import torch

from datasets.toy_datasets import toy_dataset
from models import expectation_maximisation as em
from models.expectation_maximisation import Coefficients, Samples
from models.hierarchical import branch_sums, leaf_log_probabilities
from models.moe import MixtureOfExperts
from tests.models.small import mixture_of_experts

POINTS, LABELS = toy_dataset("ring").generate(300, 0, "train")
SAMPLES = Samples.of(POINTS, LABELS, 2)


def tree(num_experts: int, **changes: object) -> MixtureOfExperts:
    torch.manual_seed(0)
    return mixture_of_experts(num_experts, gate="hierarchical", **changes)


def paths(depth: int) -> list[list[tuple[int, int]]]:
    """Return the nodes above each leaf, each with the branch that is taken: 0 left, 1 right."""
    found = []
    for turns in itertools.product((0, 1), repeat=depth):
        node, path = 0, []
        for turn in turns:
            path.append((node, turn))
            node = 2 * node + 1 + turn  # the children of a node, counted level by level
        found.append(path)
    return found


def leaf_probabilities(node_logits: np.ndarray, depth: int) -> np.ndarray:
    right = 1 / (1 + np.exp(-node_logits))
    return np.stack(
        [np.prod([right[m] if turn else 1 - right[m] for m, turn in p], 0) for p in paths(depth)]
    )


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_leaf_has_the_product_of_the_probabilities_along_its_path(depth: int) -> None:
    node_logits = torch.randn(2, 2**depth - 1, 5, dtype=torch.float64)
    found = leaf_log_probabilities(node_logits).exp()
    torch.testing.assert_close(found.sum(-2), torch.ones(2, 5, dtype=torch.float64))
    for each, logits in zip(found, node_logits, strict=True):
        np.testing.assert_allclose(each, leaf_probabilities(logits.numpy(), depth), rtol=1e-12)
    torch.autograd.gradcheck(leaf_log_probabilities, node_logits.requires_grad_())


def test_tiny_probabilities_do_not_vanish() -> None:
    logits = torch.tensor([[300.0], [-300.0], [300.0]])
    expected = [-300.0, -600.0, -300.0, 0.0]
    torch.testing.assert_close(leaf_log_probabilities(logits).squeeze(), torch.tensor(expected))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_branches_add_up_the_leaves_below_them(depth: int) -> None:
    values = torch.randn(2**depth, 5, dtype=torch.float64)
    expected = np.zeros((2**depth - 1, 2, 5))
    for path, value in zip(paths(depth), values, strict=True):
        for node, turn in path:
            expected[node, turn] += value.numpy()
    np.testing.assert_allclose(branch_sums(values), expected, rtol=1e-12)


def test_a_tree_of_depth_one_is_the_mixture_of_two_experts() -> None:
    """Its one node has the difference of the two logits, and EM the same iterations."""
    small, flat = tree(2, temperature=3.0), mixture_of_experts(2, temperature=3.0)
    flat.experts.load_state_dict(small.experts.state_dict())
    node, layer = small.gate.scores.layers, flat.gate.scores.layers
    with torch.no_grad():
        node.weight.copy_(layer.weight[1:] - layer.weight[:1])  # type: ignore[operator,index]
        node.bias.copy_(layer.bias[1:] - layer.bias[:1])  # type: ignore[operator,index]
    for mixing in ("probabilities", "logits"):
        torch.testing.assert_close(
            small.mix(POINTS).combine(mixing), flat.mix(POINTS).combine(mixing)
        )
    for model in (small, flat):
        em.expectation_maximisation(model, POINTS, LABELS, num_iterations=10)
    torch.testing.assert_close(
        small.mix(POINTS).combine("probabilities"),
        flat.mix(POINTS).combine("probabilities"),
        rtol=1e-3,
        atol=1e-3,
    )


def newton_step(coefficients: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return weighted logistic regression after one step, (D + 1,)."""
    design = SAMPLES.design.numpy()
    p = 1 / (1 + np.exp(-design @ coefficients))
    hessian = (design * (weights * p * (1 - p))[:, None]).T @ design
    step = np.linalg.solve(hessian, design.T @ (weights * (targets - p)))
    return np.asarray(coefficients + step)


def test_an_iteration_is_that_of_the_posterior_over_all_paths() -> None:
    """Jordan & Jacobs 1994, section 4: the nodes' posteriors weight their regressions."""
    depth = 2
    start = Coefficients.of(tree(2**depth))
    design, labels = SAMPLES.design.numpy(), LABELS.numpy()
    expert_logits = start.experts[:, 0].numpy() @ design.T
    likelihood = 1 / (1 + np.exp(-(2 * labels - 1) * expert_logits))
    joint = leaf_probabilities(start.gate.numpy() @ design.T, depth) * likelihood
    posterior = joint / joint.sum(0)
    np.testing.assert_allclose(em.responsibilities(start, SAMPLES), posterior, rtol=1e-9)
    expected = []
    for node in range(2**depth - 1):
        reach, right = np.zeros(len(labels)), np.zeros(len(labels))
        for path, share in zip(paths(depth), posterior, strict=True):
            for above, turn in path:
                reach += share * (above == node)
                right += share * (above == node and turn)
        expected.append(newton_step(start.gate[node].numpy(), right / reach, reach))
    end, _ = em.iterate(start, SAMPLES, torch.ones((), dtype=torch.float64))
    np.testing.assert_allclose(end.gate, expected, rtol=1e-4)
    experts = [
        newton_step(coefficients.numpy(), labels, share)
        for coefficients, share in zip(start.experts[:, 0], posterior, strict=True)
    ]
    np.testing.assert_allclose(end.experts[:, 0], experts, rtol=1e-4)


@pytest.mark.parametrize(("top_k", "hidden_units"), [(0, 0), (1, 0), (2, 3)])
def test_points_are_routed_and_gradients_reach_every_node(top_k: int, hidden_units: int) -> None:
    model = tree(8, top_k=top_k, gate_hidden=hidden_units).train()
    mixture = model.mix(POINTS)
    assert (mixture.chosen.sum(0) == (top_k or 8)).all()
    mixture.combine("probabilities").sum().backward()
    assert all((p.grad != 0).any(-1).all() for p in model.gate.parameters() if p.grad is not None)
    assert math.isclose(mixture.gate.sum(0).mean().item(), 1, rel_tol=1e-6)


def test_other_numbers_of_experts_than_powers_of_two_are_refused() -> None:
    with pytest.raises(ValueError, match="num_experts=6 is no power of two"):
        tree(6)
