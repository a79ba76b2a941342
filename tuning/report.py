"""What a study's parent run shows: metrics, figures, description."""

from collections import Counter

import mlflow
import optuna
import pandas as pd
from matplotlib.figure import Figure
from mlflow.tracking import MlflowClient
from optuna.trial import TrialState

from harness import signals
from harness.training.history import best_name
from harness.wording import as_words, code_block, plural
from tuning import figures
from tuning.importance import MIN_TRIALS, Importance, importance
from tuning.objectives import front, front_figure, front_table
from tuning.retries import requeued
from tuning.space import Space
from tuning.tried import Tried, counted


def write(study: optuna.Study, space: Space, seed: int, parent_id: str) -> None:
    """Log metrics, figures and description to the parent run."""
    client = MlflowClient()
    trials = study.get_trials(deepcopy=False)
    states = Counter(trial.state for trial in counted(trials))
    num_complete = states[TrialState.COMPLETE]
    counts = {
        "trials/complete": num_complete,
        "trials/pruned": states[TrialState.PRUNED],
        "trials/failed": states[TrialState.FAIL],
        "trials/requeued": len(requeued(trials)),
    }
    mlflow.log_metrics(counts, run_id=parent_id)
    if not num_complete:
        note = f"Study `{study.study_name}`: no trial is complete yet."
        client.set_tag(parent_id, "mlflow.note.content", note)
        return
    best = front(study)[0] if space.others else study.best_trial
    config = space.final_configuration({**best.params, "seed": seed})
    at_edge = space.near_edge(best.params)
    reached = dict(zip((each.name for each in space.objectives), best.values, strict=True))
    for name, value in reached.items():
        mlflow.log_metric(best_name(name), value, run_id=parent_id)
    settings = "".join(f"{name}: {value}\n" for name, value in config.as_parameters().items())
    client.log_text(parent_id, settings, "best.yaml")
    exhausted = Tried(study, space).untried_point() is None
    matters = Importance({}, 0.0, {}) if space.others else importance(study)
    signals.check()
    drawn = draw_front(study, space) if space.others else draw(study, space, at_edge, matters)
    for name, figure in drawn.items():
        client.log_figure(parent_id, figure, f"figures/{name}.png")
    if space.others:
        table = pd.DataFrame(front_table(study, space.objectives)).to_csv(index=False)
        client.log_text(parent_id, table, "tables/pareto_front.csv")
    numbers = ", ".join(f"{each.name} {each.text(reached[each.name])}" for each in space.objectives)
    which = f"trial {best.number}" if space.others else figures.best_trial_name(study)
    ended = {"pruned": states[TrialState.PRUNED], "failed": states[TrialState.FAIL]}
    others = ", ".join(f"{count} {state}" for state, count in ended.items() if count)
    trials_of = plural(num_complete, "complete trial")
    best_of = "Nearest to the ideal point of" if space.others else "Best of"
    lines = [f"{best_of} {trials_of}{f' ({others})' * bool(others)}: **{which}, {numbers}**", ""]
    lines[0] += " on validation, one seed."
    if space.others:
        lines.append(f"- {plural(len(study.best_trials), 'trial')} on the Pareto front.")
    lines += [f"- **Warning:** {w}; a wider range may do better." for w in at_edge.values()]
    if space.low_fidelity:
        cheap = ", ".join(as_words(space.low_fidelity))
        lines += [f"- Trials were of low fidelity, with {cheap}; the command is of full fidelity."]
    if exhausted:
        lines.append("- The search space is exhausted: each of its configurations was tried.")
    lines += [] if space.others else importance_notes(matters)
    lines += ["", code_block(config.as_command())]
    text = "\n".join(lines) + "\n"
    client.set_tag(parent_id, "mlflow.note.content", text)
    print("\n".join(line for line in text.replace("*", "").replace("`", "").split("\n") if line))


def draw(
    study: optuna.Study, space: Space, at_edge: dict[str, str], matters: Importance
) -> dict[str, Figure]:
    """Draw every figure of a study that has a complete trial."""
    metric = space.metric
    most_important = list(matters.shares or study.best_params)[:7]
    drawn = {
        "history": figures.history(study, metric),
        "slices": figures.slices(study, metric, at_edge),
        "parallel_coordinates": figures.parallel_coordinates(study, metric, most_important),
        "intermediate_values": figures.intermediate_values(study, metric),
        "timeline": figures.timeline(study),
    }
    if matters.shares:
        drawn["importance"] = figures.importances(matters.shares, matters.chance, metric)
    if len(matters.shares) > 1:
        drawn["contour"] = figures.contour(study, metric, most_important[:2])
    return drawn


def draw_front(study: optuna.Study, space: Space) -> dict[str, Figure]:
    """Draw the figures of a study with several objectives."""
    drawn = {"pareto_front": front_figure(study, space.objectives)}
    return {**drawn, "timeline": figures.timeline(study)}


def importance_notes(matters: Importance) -> list[str]:
    """Return what the figure of the importance does not show, and why."""
    if not matters.shares and not matters.too_few:
        return ["- Importance is not drawn: all complete trials are equally good."]
    if not matters.too_few:
        return []
    if matters.shares:
        few = ", ".join(f"{name} ({count})" for name, count in matters.too_few.items())
        needed = f"fewer than {MIN_TRIALS} complete trials have them"
        return [f"- Importance leaves out {few}: {needed}."]
    most = max(matters.too_few.values())
    return [
        f"- Importance is not drawn: of {MIN_TRIALS} complete trials it needs, there are {most}."
    ]
