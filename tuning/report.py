"""What a study's parent run shows: metrics, figures, description."""

import optuna
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial, TrialState

from harness.config import as_words
from harness.training.history import best_name
from harness.training.metrics import decimal
from tuning import figures
from tuning.figures import Objective
from tuning.runs import StudyRuns
from tuning.space import Space
from tuning.trials import requeued


def write(study: optuna.Study, space: Space, seed: int, runs: StudyRuns) -> None:
    """Log metrics, figures and description to the parent run."""
    trials = study.get_trials(deepcopy=False)
    again = requeued(trials)
    counts = {
        "trials/complete": _count(trials, TrialState.COMPLETE),
        "trials/pruned": _count(trials, TrialState.PRUNED),
        "trials/failed": _count([t for t in trials if t.number not in again], TrialState.FAIL),
        "trials/requeued": float(len(again)),
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
    if space.low_fidelity:
        cheap = ", ".join(as_words(space.low_fidelity))
        lines += [f"- Trials were of low fidelity, with {cheap}; the command is of full fidelity."]
    lines += ["", "```", config.as_command(), "```"]
    text = "\n".join(lines) + "\n"
    runs.describe(text)
    print("\n".join(line for line in text.replace("*", "").replace("`", "").split("\n") if line))


def _count(trials: list[FrozenTrial], state: TrialState) -> float:
    return float(sum(trial.state == state for trial in trials))


def draw(study: optuna.Study, space: Space, at_edge: dict[str, str]) -> dict[str, Figure]:
    """Draw every figure of a study that has a complete trial."""
    trials = study.get_trials(deepcopy=False)
    objective = Objective(space.metric, space.maximise)
    drawn = {
        "history": figures.history(trials, objective),
        "slices": figures.slices(trials, objective, at_edge),
        "parallel_coordinates": figures.parallel_coordinates(trials, objective),
        "intermediate_values": figures.intermediate_values(trials, objective),
        "timeline": figures.timeline(study),
    }
    importances = importance(study)
    if importances:
        drawn["importance"] = figures.importances(study, objective)
    if len(importances) > 1:
        first, second, *_ = importances
        drawn["contour"] = figures.contour(trials, objective, (first, second))
    return drawn


def importance(study: optuna.Study) -> dict[str, float]:
    """Return how much of the differences each parameter explains, the most important first.

    Empty where too few trials are complete to say, or all are equally good.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len({trial.value for trial in complete}) < 4:
        return {}
    with figures.quiet():
        return dict(optuna.importance.get_param_importances(study))
