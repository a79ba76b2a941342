"""Which expert is responsible for which point, iteration by iteration."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.moe.figures import TRUE, WIDE, Scene
from harness.figures import style
from models.expectation_maximisation import (
    Coefficients,
    Samples,
    log_likelihood,
    responsibilities,
)
from models.moe import MixtureOfExperts


def by_iteration(scene: Scene, mixtures: Mapping[int, MixtureOfExperts]) -> Figure:
    """Draw the scene's points in the colours of the experts responsible for them, and their lines.

    Of the mixtures, by iteration, up to six are drawn; 0 is how they start. A point that several
    experts answer for has a mixture of their colours.
    """
    numbers = np.array([number for number in mixtures if number])
    wanted = np.geomspace(1, numbers.max(), 5)
    shown = sorted({0, *(int(numbers[abs(numbers - each).argmin()]) for each in wanted)})
    num_experts = mixtures[0].num_experts
    cycle = [style.EXPERTS[k % len(style.EXPERTS)] for k in range(num_experts)]
    colours = np.array([to_rgb(colour) for colour in cycle])
    columns = min(len(shown), 3)
    rows = math.ceil(len(shown) / columns)
    height = 1.5 + 2.7 * rows
    figure, axes = style.canvas(rows, columns, width=WIDE, height=height)
    samples = Samples.of(torch.from_numpy(scene.points), torch.from_numpy(scene.labels), 2)
    inputs = torch.from_numpy(scene.plane.points)
    for place, number in zip(axes.flat, shown, strict=False):
        mixture = mixtures[number]
        coefficients = Coefficients.of(mixture)
        responsibility = responsibilities(coefficients, samples).T.numpy()  # (N, K)
        loss = -log_likelihood(coefficients, samples).item()
        expert_logits = mixture.mix(inputs).expert_logits.detach().numpy()
        mixed = (responsibility @ colours).clip(0, 1)
        place.scatter(*scene.points.T, s=5, c=mixed, linewidths=0)
        scene.draw_boundary(place)
        for logits, colour in zip(expert_logits, cycle, strict=True):
            if logits.min() < 0 < logits.max():
                plane = scene.plane
                look = {"colors": [colour], "linewidths": 2.2}
                place.contour(plane.x, plane.y, plane.image(logits), [0], **look)
        when = f"iteration {number}" if number else "start"
        place.axis(scene.plane.extent)
        place.set(aspect="equal")
        style.titled(place, f"{when}: {loss:.3f} nats", "$x_1$", "$x_2$")
        place.label_outer()
    for place in axes.flat[len(shown) :]:
        place.set_axis_off()
    handles = [
        Line2D([], [], color=colour, linewidth=2.2, marker="o", label=f"expert {k}")
        for k, colour in enumerate(cycle, start=1)
    ]
    figure.legend(
        handles=[*handles, TRUE],
        loc="outside lower center",
        ncols=min(5, num_experts + 1),
        frameon=False,
    )
    figure.suptitle("Responsibility of each expert for each point, and its line", fontsize=12)
    return figure
