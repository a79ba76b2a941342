"""What a study's parent run shows: numbers, pictures, description."""

import warnings

import optuna
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial, TrialState

from experiments.harness.metrics import decimal
from tuning import figures, storage
from tuning.figures import Objective
from tuning.runs import StudyRuns, best_name
from tuning.space import Space


def write(study: optuna.Study, space: Space, seed: int, runs: StudyRuns) -> None:
    """Give the parent run its numbers, pictures and description."""
    trials = study.get_trials(deepcopy=False)
    again = storage.replaced(trials)
    counts = {
        "trials/complete": _count(trials, TrialState.COMPLETE),
        "trials/pruned": _count(trials, TrialState.PRUNED),
        "trials/failed": _count([t for t in trials if t.number not in again], TrialState.FAIL),
        "trials/put_back": float(len(again)),
    }
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    if not complete:
        runs.log_metrics(counts)
        runs.describe(f"Study `{study.study_name}`: no trial is complete yet.")
        return
    best = study.best_trial
    config = space.final_configuration({**best.params, "seed": seed})
    at_edge = space.near_edge(best.params)
    value = study.best_value
    runs.log_metrics({**counts, best_name(space.metric): value})
    runs.log_text(
        "".join(f"{name}: {v}\n" for name, v in config.as_parameters().items()), "best.yaml"
    )
    runs.log_figures(draw(study, space, at_edge))
    reached = f"trial {best.number}, {space.metric} {decimal(value)}"
    lines = [f"Best of {len(complete)} complete trials: **{reached}** on validation, one seed.", ""]
    lines += [f"- **Warning:** {w}; a wider range may do better." for w in at_edge.values()]
    if space.sketch:
        sketch = ", ".join(f"{name}={value}" for name, value in space.sketch.items())
        lines += [f"- Trials were sketches, with {sketch}; the command carries the best out."]
    lines += ["", "```", config.as_command(), "```"]
    text = "\n".join(lines) + "\n"
    runs.describe(text)
    print("\n".join(line for line in text.replace("*", "").replace("`", "").split("\n") if line))


def _count(trials: list[FrozenTrial], state: TrialState) -> float:
    return float(sum(trial.state == state for trial in trials))


def draw(study: optuna.Study, space: Space, at_edge: dict[str, str]) -> dict[str, Figure]:
    """Draw every picture of a study that has a complete trial."""
    trials = study.get_trials(deepcopy=False)
    objective = Objective(space.metric, space.maximise)
    pictures = {
        "history": figures.history(trials, objective),
        "slices": figures.slices(trials, objective, at_edge),
        "parallel_coordinates": figures.parallel_coordinates(trials, objective),
        "intermediate_values": figures.intermediate_values(trials, objective),
        "timeline": figures.timeline(trials),
    }
    importances = importance(study)
    if importances:
        pictures["importance"] = figures.importances(importances, objective)
    if len(importances) > 1:
        first, second, *_ = importances
        pictures["contour"] = figures.contour(trials, objective, (first, second))
    return pictures


def importance(study: optuna.Study) -> dict[str, float]:
    """Return how much of the differences each parameter explains, the most important first.

    Empty where too few trials are complete to say, or all are equally good.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len({trial.value for trial in complete}) < 4:
        return {}
    with warnings.catch_warnings():
        # A parameter that few trials had is estimated roughly, which is no news.
        warnings.filterwarnings("ignore", "Some regimes", UserWarning)
        return dict(optuna.importance.get_param_importances(study))
