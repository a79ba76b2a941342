"""The members of an ensemble: which runs they are, and whether one model can be made of them."""

import json
from collections.abc import Container, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from harness.errors import UserError
from harness.evaluation import Predictions
from harness.tracking import models
from harness.tracking.models import LoadedModel
from harness.tracking.run import data_set_of, find_finished, model_of
from harness.tracking.store import store_errors, store_lock

MAY_DIFFER = {"configuration", "weights_prefix", "calibration", "network"}
"""Metadata in which members may differ; the others say what inputs and outputs stand for."""


class Member(NamedTuple):
    """A run, and the model that it has logged."""

    run: Run
    model: LoadedModel

    @property
    def run_id(self) -> str:
        """The run's id."""
        return str(self.run.info.run_id)


def find_members(run_ids: Sequence[str]) -> list[Member]:
    """Return the runs of these ids; in place of one that has several seeds, those of its seeds.

    Raises:
        UserError: one of them cannot be a member, or there are fewer than two, or they predict
            other classes, or from other inputs.

    """
    with store_errors(), store_lock():
        runs = [each for run_id in run_ids for each in _with_seeds(run_id)]
        ids = [run.info.run_id for run in runs]
        if len(ids) < 2:
            given = " ".join(run_ids)
            raise UserError(f"runs={given}: {len(ids)} network; an ensemble has two or more")
        for run_id in ids:
            if ids.count(run_id) > 1:
                raise UserError(f"runs={run_id}: more than once among them")
    members = [Member(run, models.load(f"runs:/{run.info.run_id}/model")) for run in runs]
    for member in members[1:]:
        _require_same_meaning(members[0], member)
    return members


def _with_seeds(run_id: str) -> list[Run]:
    """Return the runs of each seed below a run; without any, the run itself."""
    run = find_finished(run_id, "runs")
    if run.data.tags.get("entry_point") == "tune":
        raise UserError(f"runs={run_id}: that run is a study; give runs that have a model")
    query = f"tags.mlflow.parentRunId = '{run_id}' and attributes.status = 'FINISHED'"
    children = MlflowClient().search_runs([run.info.experiment_id], query)
    if children:
        return sorted(children, key=lambda child: int(child.data.tags["seed"]))
    if model_of(run_id) is None:
        raise UserError(f"runs={run_id}: that run has no model")
    return [run]


def _require_same_meaning(first: Member, other: Member) -> None:
    """Raise a UserError unless inputs and outputs of two models stand for the same."""
    if found := difference(other.model.metadata, first.model.metadata):
        raise UserError(
            f"runs={other.run_id}: has {found[0]}, and run {first.run_id} {found[1]}; "
            "members of an ensemble have the same inputs and classes"
        )


def difference(
    one: Mapping[str, Any], other: Mapping[str, Any], may_differ: Container[str] = MAY_DIFFER
) -> tuple[str, str] | None:
    """Return in what the metadata of two models differ first, by name and value; None if not."""
    for name in dict.fromkeys([*one, *other]):
        values = [json.loads(json.dumps(each.get(name))) for each in (one, other)]
        if name not in may_differ and values[0] != values[1]:
            return f"{name} {_as_text(values[0])}", _as_text(values[1])
    return None


def _as_text(value: object) -> str:
    """Return a value of the metadata, abridged."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def require_same_split(members: Sequence[Member], *, are_generated: bool) -> None:
    """Raise a UserError where a test sample of one member was trained on by another.

    Splits that are drawn by the seed have such samples; generated ones are new for every seed.
    """
    first = data_set_of(members[0].run)
    for member in members[1:]:
        data = data_set_of(member.run)
        differs = data.name != first.name if are_generated else data.differs(first)
        if differs:
            raise UserError(
                f"runs={member.run_id}: was trained on {data}, and run {members[0].run_id} on "
                f"{first}; members need one split, or what tests one may have trained another"
            )


def require_same_samples(members: Sequence[Member], found: Sequence[Predictions]) -> None:
    """Raise a UserError where a member with the first one's seed has predicted other samples."""
    for member, each in zip(members, found, strict=True):
        if not np.array_equal(each.labels, found[0].labels):
            raise UserError(
                f"runs={member.run_id}: with one seed, it has other samples than run "
                f"{members[0].run_id}; members need one task, and splits of one size"
            )
