"""Which model a page shows: the champion, that of a finished run, or one trained on the spot."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mlflow
import streamlit as st
from mlflow.exceptions import MlflowException

import experiments
from harness.config import describe
from harness.errors import UserError
from harness.experiment import AnyExperiment
from harness.inference.inference import Row, predict_rows
from harness.tracking import models
from harness.tracking.export import served_model
from harness.tracking.locations import redact_password
from harness.tracking.models import KnownModel, known_models
from harness.tracking.run import history_of
from harness.tracking.store import impatient
from harness.training.history import History
from harness.training.loop import Progress
from harness.training.train import train


@dataclasses.dataclass(frozen=True)
class ChosenModel:
    """A model as it answers requests, and what it was trained as."""

    served: Any
    """A `ServedModel`, of the code that was logged with it."""
    config: Any
    run_id: str = ""
    trained_here: History | None = None

    @functools.cached_property
    def history(self) -> History:
        """What was measured in every epoch; a UserError where the run has not logged it."""
        return self.trained_here or history_of(self.run_id)

    def __call__(self, row: Row, **params: Any) -> Row:
        """Return the prediction for a row of raw inputs; where it is refused, say why, and stop."""
        (prediction,) = predict_rows([({}, row)], self.served, params)
        if "error" in prediction:
            st.warning(prediction["error"])
            st.stop()
        return prediction


def choose(
    name: str,
    *,
    small: Mapping[str, Any],
    options: Mapping[str, Sequence[Any]],
    seconds: int,
    fits: Callable[[Mapping[str, str]], bool] = lambda parameters: True,
    comes_first: Callable[[Mapping[str, str]], bool] = lambda parameters: True,
) -> ChosenModel:
    """Let the user choose a model in the sidebar, or train one; without any, the page ends here.

    Args:
        name: the entry point; models of those that extend it are offered as well.
        small: the configuration that is trained on the spot.
        options: the parameters of it that the user can choose, each with its values.
        seconds: how long that takes, roughly, on one core.
        fits: whether the page can show a model, by its parameters as texts.
        comes_first: whether it is listed before others, likewise.

    """
    experiment, key = experiments.find(name), f"model of {name}"
    here = {title: model for (of, title), model in _trained_here().items() if of == name}
    fitting = [model for model in _known_models(name) if fits(model.parameters)]
    fitting.sort(key=lambda model: not comes_first(model.parameters))  # else as they were
    known = {model.title: model for model in fitting}
    titles = [*here, *known]
    if not titles:
        st.info(
            f"There is no model for this page yet: the store has no champion and no finished run "
            f"of `{name}` that it could show. Train one here, in about {seconds} seconds; or run "
            f"`python -m experiments.{name}`, and reload the page."
        )
    with st.sidebar if titles else st.container():
        selection = st.container()
        with st.expander("Train a small one here", expanded=not titles):
            values = {
                parameter: st.selectbox(
                    parameter, choices, help=describe(experiment.config_class, parameter)
                )
                for parameter, choices in options.items()
            }
            if st.button(f"Train, about {seconds} s", type="primary"):
                config = experiment.config_class(**{**small, **values})
                title = _train(experiment, config, values)
                st.session_state[key] = title
                st.rerun()
        if not titles:
            st.stop()
        # A model that was chosen once may be gone.
        if st.session_state.get(key) not in titles:
            st.session_state[key] = titles[0]
        title = selection.selectbox("Model", titles, key=key)
        try:
            model = here.get(title) or _load(known[title].uri, known[title].run_id)
        except UserError as error:
            raise UserError(f"{error}. Choose another model on the left, or train one.") from None
        where = " here" if model.trained_here else ""
        selection.caption(f"{title}, trained{where} by")  # above, a long title is cut
        selection.code(model.config.as_command(), language="bash", wrap_lines=True)
    return model


@st.cache_resource
def _trained_here() -> dict[tuple[str, str], ChosenModel]:
    """Return what was trained since the server was started, by entry point and title."""
    return {}


@st.cache_data(ttl="10s", show_spinner=False)
def _known_models(name: str) -> list[KnownModel]:
    """Return the models of an entry point, and of those that extend it."""
    kind = type(experiments.find(name))
    names = [each for each in experiments.names() if isinstance(experiments.find(each), kind)]
    try:
        with impatient():
            return known_models(names)
    except MlflowException:
        uri = redact_password(mlflow.get_tracking_uri())
        st.sidebar.error(
            f"The store {uri} does not answer: is its server running? "
            "(MLFLOW_TRACKING_URI names it.)"
        )
        return []


@st.cache_resource(max_entries=10, show_spinner="Loading the model")
def _load(uri: str, run_id: str) -> ChosenModel:
    """Load a model of the store; the run tells apart what an alias was and is."""
    loaded = models.load(uri)
    experiment = experiments.find(loaded.metadata["entry_point"])
    return ChosenModel(
        loaded.served, experiment.config_class(**loaded.metadata["configuration"]), run_id
    )


def _train(experiment: AnyExperiment, config: Any, values: Mapping[str, Any]) -> str:
    """Train with a progress bar, and return the title under which the model can be chosen."""
    bar = st.progress(0.0, "Reading the data")

    def show(progress: Progress) -> None:
        done = f"Epoch {progress.epoch} of {config.num_epochs}"
        reached = f"validation accuracy {progress.history.rows[-1]['val/accuracy']:.3f}"
        bar.progress(progress.epoch / config.num_epochs, f"{done}: {reached}")

    trained = train(experiment, config, callbacks=[show])
    served = served_model(experiment.export(config, trained), config)
    title = ", ".join(f"{name}={value}" for name, value in values.items())
    _trained_here()[experiment.name, title] = ChosenModel(
        served, config, trained_here=trained.history
    )
    return title
