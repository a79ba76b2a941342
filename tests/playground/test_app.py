"""The frame of the playground, without a browser."""

import importlib.util
from pathlib import Path

import mlflow
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from streamlit.testing.v1 import AppTest

import experiments
from datasets.choices import SELECTIVE_TASKS, MemoryTaskName
from experiments.moe.figures import decision
from experiments.rnn.figures import accuracy_by_delay
from experiments.rnn_text.figures import next_symbol
from harness.errors import UserError
from harness.tracking.export import served_model
from harness.tracking.models import KnownModel, known_models
from harness.training.train import train
from playground import choice
from playground.__main__ import APP, main
from playground.app import PAGES, entry


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_says_what_to_try_on_an_architecture(path: Path) -> None:
    assert path.stem in experiments.names()
    page = entry(path)
    assert ": " in page.title
    assert "?" in page.text
    assert "**Try:**" in page.text


@pytest.mark.parametrize("task", SELECTIVE_TASKS)
def test_a_network_of_a_selective_task_is_asked_about_a_text(
    task: MemoryTaskName, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = experiments.find("rnn")
    config = experiment.config_class(**{**experiment.config_class.tiny, "task": task})
    trained = train(experiment, config)
    chosen = choice.ChosenModel(served_model(experiment.export(config, trained), config), config)
    monkeypatch.setattr(choice, "choose", lambda *_, **__: chosen)
    (path,) = (path for path in PAGES if path.stem == "rnn")
    app = AppTest.from_file(str(path), default_timeout=60).run()
    assert not app.exception
    number = {"selective_copying": 8, "induction_heads": 1, "associative_recall": 8, "parity": 40}
    answers = f"of {number[task]}** answers are correct"
    assert any(answers in text.value for text in app.markdown)
    app.text_input[0].set_value("abc").run()
    assert not app.exception
    assert "this model can be asked about" in app.warning[0].value


def test_the_first_page_names_every_page() -> None:
    app = AppTest.from_file(str(APP), default_timeout=60).run()
    assert not app.exception
    shown = [text.value for text in app.markdown]
    assert {entry(path).text for path in PAGES} <= set(shown)


def test_without_streamlit_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install -e "\.\[playground\]"$'):
        main()


def test_to_look_for_models_makes_no_store(store: Path) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{store}/other.db")
    assert known_models(["moe"]) == []
    assert not (store / "other.db").exists()


def choose_one() -> None:
    from playground.choice import choose

    first = {"comes_first": lambda parameters: parameters["task"] == "variable_echo"}
    choose("rnn", small={}, options={}, seconds=1, **first)


def test_a_page_lists_what_suits_it_best_first_and_says_what_to_do_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone(uri: str, run_id: str) -> None:
        raise UserError(f"model={uri}: cannot be loaded")

    tasks = {"newest": "echo", "newer": "variable_echo", "old": "variable_echo"}
    known = [KnownModel(f"runs:/{n}/model", n, n, {"task": task}) for n, task in tasks.items()]
    monkeypatch.setattr(choice, "_known_models", lambda name: known)
    monkeypatch.setattr(choice, "_load", gone)
    app = AppTest.from_function(choose_one, default_timeout=60).run()
    assert app.sidebar.selectbox[0].options == ["newer", "old", "newest"]
    message = "model=runs:/newer/model: cannot be loaded. Choose another model on the left"
    assert app.exception[0].message.startswith(message)


def widths(axes: Axes) -> list[float]:
    return [bar.get_width() for bar in axes.patches if isinstance(bar, Rectangle)]


def test_the_next_character_that_was_drawn_is_shown_even_if_it_is_improbable() -> None:
    probabilities = np.array([0.4, 0.05, 0.3, 0.15, 0.1])
    (axes,) = next_symbol(probabilities, "abcde", taken=1, count=3).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "c", "b"]
    assert widths(axes) == [0.4, 0.3, 0.05]


def test_one_delay_is_marked() -> None:
    counts = np.array([9, 5, 1]), np.array([10, 10, 10])
    (axes,) = accuracy_by_delay(*counts, chance=np.ones(3) / 26, marked=1).axes
    vermilion = [bar.get_facecolor()[:3] for bar in axes.patches]
    assert len(set(vermilion)) == 2
    assert vermilion[0] == vermilion[2] != vermilion[1]


def test_a_decision_has_the_gate_and_what_each_expert_says() -> None:
    gate, experts = np.array([0.7, 0.3]), np.array([0.1, 0.9])
    weight, answer = decision(gate, experts, 0.34, (1.0, -2.0)).axes
    assert widths(weight) == list(gate)
    (points,) = answer.collections
    assert np.asarray(points.get_offsets())[:, 0].tolist() == list(experts)
    assert [0.34, 0.34] in [np.asarray(line.get_xdata()).tolist() for line in answer.lines]
