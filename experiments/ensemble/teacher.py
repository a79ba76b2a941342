"""Learning from the probabilities of a trained classifier, single or an ensemble: its teacher."""

import functools
import re
from collections.abc import Callable
from typing import Any

from torch import nn

import experiments
from experiments.ensemble.members import MAY_DIFFER, difference
from harness.errors import UserError
from harness.experiment import Experiment, Trained
from harness.tracking import models
from harness.tracking.models import LoadedModel
from harness.training.config import C
from harness.training.history import History
from models.ensemble import Ensemble


class TaughtExperiment(Experiment[C]):
    """An experiment whose networks may have a teacher (`DistillationConfig`)."""

    def find_teacher(self, config: Any, data: Any) -> Callable[[], nn.Module] | None:
        """Return what loads the teacher, as a network of any size of input, in evaluation mode.

        Raises:
            UserError: there is no such model, or it is of other inputs or classes.

        """
        if not config.teacher:
            return None
        is_run = re.fullmatch(r"[0-9a-f]{32}", config.teacher)
        uri = f"runs:/{config.teacher}/model" if is_run else config.teacher
        try:
            teacher = models.load(uri)
        except UserError as error:
            reason = str(error).removeprefix(f"model={uri}: ")
            raise UserError(f"teacher={config.teacher}: {reason}") from None
        student = self.build_model(config, data).eval()
        trained = Trained(
            config=config, data=data, model=student, untrained=student, history=History()
        )
        ours = {"architecture": config.family, **self.export(config, trained).metadata}
        may_differ = {*MAY_DIFFER, "entry_point", "members", "max_length"}
        if other := difference(teacher.metadata, ours, may_differ):
            raise UserError(
                f"teacher={config.teacher}: has {other[0]}, and this network {other[1]}"
            )
        if not ours["classes"]:
            raise UserError(f"teacher={config.teacher}: predicts numbers; teachers are classifiers")
        return functools.partial(restored, teacher, data)


def restored(model: LoadedModel, data: Any) -> nn.Module:
    """Return a logged classifier, single or an ensemble, as it was before it was exported."""
    experiment, weights = experiments.find(model.metadata["entry_point"]), model.weights
    networks: list[nn.Module] = []
    for member in model.metadata.get("members", [{**model.metadata, "weights_prefix": ""}]):
        prefix = member["weights_prefix"]
        own = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        config = experiment.config_class(**member["configuration"])
        networks.append(experiment.restore_model(config, data, own))
    return Ensemble(networks).eval() if len(networks) > 1 else networks[0]
