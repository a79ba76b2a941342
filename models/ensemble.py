"""Several classifiers as one, whose probabilities are the mean of theirs.

    L. Hansen, P. Salamon, "Neural network ensembles", 1990
    B. Lakshminarayanan, A. Pritzel, C. Blundell, "Simple and scalable predictive uncertainty
    estimation using deep ensembles", 2017

Letters: M members, B samples, K classes.
"""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Ensemble(nn.Module):
    """Averages the probabilities of its members, and returns logits, as each of them does.

    Args:
        members: M classifiers of the same inputs and classes.

    """

    def __init__(self, members: Iterable[nn.Module]):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the logarithms of the mean probabilities, (B, K), whose softmax these are.

        Of two classes with one logit, (B,), it is the logit of the second one's mean probability.
        """
        logits = torch.stack([member(*inputs) for member in self.members])  # (M, B) or (M, B, K)
        if logits.dim() == 2:
            return F.logsigmoid(logits).logsumexp(0) - F.logsigmoid(-logits).logsumexp(0)
        return logits.log_softmax(-1).logsumexp(0) - math.log(len(self.members))
