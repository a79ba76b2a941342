"""Fingerprints: another content has another one, and nothing else has."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from harness.experiment import Splits
from harness.fingerprints import DataSet, of_split
from harness.training.batches import GeneratedSamples
from tests.harness.small import Line, line

SIZE = 20_000
"""Numbers of a split, more than MLflow's own digest is of."""


def changed(split: Line, part: str, change: Callable[[Any], Any]) -> Line:
    return split._replace(**{part: change(getattr(split, part))})


def with_another_last(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.clone()
    tensor[-1] += 1
    return tensor


@pytest.mark.parametrize("part", ["x", "targets"])
@pytest.mark.parametrize(
    "change", [with_another_last, torch.Tensor.double, lambda t: t[:-1], lambda t: t.flip(0)]
)
def test_any_value_type_shape_or_order_counts(part: str, change: Callable[[Any], Any]) -> None:
    split = line(SIZE)
    assert of_split(changed(split, part, change)) != of_split(split)


def test_the_same_content_has_the_same_fingerprint_however_it_lies_in_memory() -> None:
    split = line(SIZE)
    assert of_split(changed(split, "x", lambda x: x.flip(0).clone().flip(0))) == of_split(split)
    apart = torch.stack([split.x[:, 0], split.x[:, 0]], dim=1)[:, :1]
    assert not apart.is_contiguous() or apart.stride() != split.x.stride()
    assert of_split(split._replace(x=apart)) == of_split(split)


def test_samples_without_end_are_known_by_their_first_batch() -> None:
    def samples(shift: float) -> GeneratedSamples:
        return GeneratedSamples(lambda *_: line()._replace(x=line().x + shift), num_batches=2)

    assert of_split(samples(0)) == of_split(line())
    assert of_split(samples(1)) != of_split(samples(0))


def test_a_data_set_is_known_by_validation_and_by_what_is_given() -> None:
    """The test split is not read for it; a fingerprint that is given is not computed."""

    def splits(inputs: Any, **given: str) -> Splits[Line]:
        def read() -> Line:
            raise AssertionError("the test split was read")

        return Splits(
            name="line", train=line(), validation=inputs, load_test=read, fingerprints=given
        )

    same = splits(line()).data_set
    assert same == splits(line()).data_set
    several = [splits(line(), **given) for given in ({"test": "a"}, {"test": "b"}, {"train": "a"})]
    assert len({each.data_set for each in [*several, splits(line(9))]} | {same}) == 5
    counted = [
        dataclasses.replace(splits(line()), train=train, counts={"train": {"a": 1}}).data_set
        for train in (line(), line(9))
    ]
    assert len({*counted, same}) == 3, "of samples that were collected, training counts"
    given = splits(object(), validation="hash of the file")
    assert given.fingerprint("validation") == "hash of the file"
    assert given.data_set == splits(None, validation="hash of the file").data_set
    assert str(given.data_set) == f"line ({given.data_set.fingerprint})"


@pytest.mark.parametrize(
    ("one", "other", "differs"),
    [
        (("iris", "a"), ("iris", "a"), False),
        (("iris", "a"), ("iris", "b"), True),
        (("iris", "a"), ("wine", "a"), True),
        (("iris", "a"), ("iris", ""), False),  # nobody knows
        (("iris", "a"), ("wine", ""), True),
        (("iris", "a"), ("", ""), False),
    ],
)
def test_data_differ_where_it_is_known(
    one: tuple[str, str], other: tuple[str, str], differs: bool
) -> None:
    assert DataSet(*one).differs(DataSet(*other)) is differs
    assert DataSet(*other).differs(DataSet(*one)) is differs
