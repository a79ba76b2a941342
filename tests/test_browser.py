"""What a person sees of runs, figures and champions in the MLflow UI, in a real browser.

With the environment variable SCREENSHOTS naming a folder (`make screenshots`), the pictures of the
README are taken on the way.
"""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from playwright.sync_api import BrowserContext, Locator, Page, expect, sync_playwright

import experiments
from experiments.moe.config import MoEConfig
from experiments.seq_classification.config import SequenceConfig
from harness.run_experiment import run_experiment
from harness.tracking import view
from tests.conftest import Started, serve

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (apt-get install chromium)"),
]

TIMEOUT_MILLISECONDS = 60_000
"""Other tests may have the cores."""

STUDY = ["moe", "--trials=12", "--finalists=2", "--final-seeds=2", "--set", "num_epochs=10"]


@pytest.fixture(scope="module")
def runs(module_store: Path) -> dict[str, Run]:
    """Train what is to be seen: mixtures, sequence classifiers, and a study's champion."""
    study = Started(module_store, "-m", "tuning", *STUDY)
    mixtures: list[dict[str, Any]] = [
        {},
        {"mixing": "logits"},
        {"mixing": "logits", "num_experts": 3, "gate_temperature": 100.0},
    ]
    for changes in mixtures:
        run_experiment(experiments.find("moe"), MoEConfig(**changes))
    for encoder in ("gru", "tcn"):
        config = SequenceConfig(encoder=encoder, level="easy")
        run_experiment(experiments.find("seq_classification"), config)
    assert study.wait() == 0
    client = MlflowClient()
    places = [place.experiment_id for place in client.search_experiments()]
    return {run.info.run_name: run for run in client.search_runs(places)}


@pytest.fixture(scope="module")
def browser(runs: dict[str, Run], module_store: Path) -> Iterator[BrowserContext]:
    """Start the UI, and a browser that shows it."""
    store = ["--backend-store-uri", f"sqlite:///{module_store}/mlflow.db", "--workers", "1"]
    with serve(module_store, "/health", "ui", *store) as address, sync_playwright() as playwright:
        expect.set_options(timeout=TIMEOUT_MILLISECONDS)
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium.new_context(viewport={"width": 1360, "height": 720}, base_url=address)
        chromium.close()


@pytest.fixture
def page(browser: BrowserContext) -> Iterator[Page]:
    """Open the UI as the README says: choose model training, close what is in the way."""
    page = browser.new_page()
    page.set_default_timeout(TIMEOUT_MILLISECONDS)
    page.goto("/")
    page.get_by_text("Model training", exact=True).click()
    page.locator("[data-component-id='mlflow.assistant.chat_panel.close']").click()
    yield page
    page.evaluate("localStorage.clear()")
    page.close()


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where pictures go."""
    return Path(os.environ.get("SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))


DEFAULT_COLUMNS = ("Dataset", "Source", "Models")
PARAMETERS = ("num_experts", "mixing", "lr_schedule")


def open_experiment(page: Page, name: str) -> None:
    page.goto("/#/experiments")
    page.get_by_role("main").get_by_role("link", name=name, exact=True).click()
    expect(page.locator("[row-index='0']").first).to_be_visible()


def open_link(browser: BrowserContext, link: str) -> Page:
    """Open a link that is printed, on the port of this test."""
    page = browser.new_page()
    page.set_default_timeout(TIMEOUT_MILLISECONDS)
    page.goto(link.removeprefix(view.LOCAL_ADDRESS))
    return page


def choose_columns(page: Page, *toggled: str) -> None:
    """Tick columns of the table that were not shown, and untick those that were."""
    page.get_by_role("button", name="Columns").click()
    menu = page.get_by_role("dialog")
    for name in toggled:
        menu.get_by_role("textbox", name="Search columns").fill(name)
        entry = menu.locator("[class*=tree-treenode]").filter(
            has_text=re.compile(f"^{re.escape(name)}$")
        )
        entry.locator("[class*=tree-checkbox]").first.click()
    page.keyboard.press("Escape")


def cells(page: Page, run: Run, columns: Sequence[str]) -> dict[str, str]:
    """Return what the table shows of a run in these columns."""
    shown = {}
    for column in columns:
        cell = page.locator(f"[row-id='{run.info.run_id}'] [col-id$='.`{column}`']")
        expect(cell).not_to_be_empty()
        shown[column] = cell.inner_text()
    return shown


def row_of(page: Page, run: Run) -> Locator:
    """Return the part of a run's row that holds its name and its boxes."""
    rows = page.locator(f"[row-id='{run.info.run_id}']")
    return rows.filter(has=page.get_by_role("link", name=run.info.run_name, exact=True))


@pytest.mark.parametrize(
    ("experiment", "names", "columns"),
    [
        ("moe", ["moe seed=0", "mixing=logits"], ["num_experts", "mixing", "test/accuracy"]),
        (
            "seq_classification",
            ["level=easy", "level=easy encoder=tcn"],
            ["encoder", "level", "test/accuracy", "best/sequences_to_solve"],
        ),
    ],
)
def test_runs_are_listed_with_the_columns_of_their_architecture(
    page: Page, runs: dict[str, Run], experiment: str, names: list[str], columns: list[str]
) -> None:
    open_experiment(page, experiment)
    choose_columns(page, *DEFAULT_COLUMNS, *columns)
    for name in names:
        run = runs[name]
        for column in columns:
            expect(page.get_by_role("columnheader", name=column, exact=True).first).to_be_visible()
        shown = cells(page, run, columns)
        for column in columns:
            if column in run.data.params:
                assert shown[column] == run.data.params[column]
            elif column in run.data.metrics:
                assert float(shown[column]) == run.data.metrics[column]
            else:
                assert shown[column] == "-"


@pytest.mark.parametrize(
    ("experiment", "name", "columns"),
    [
        ("moe", "mixing=logits", ["best/val_accuracy", "test/accuracy", "num_experts", "mixing"]),
        ("seq_classification", "level=easy", ["best/val_loss", "test/accuracy", "encoder"]),
    ],
)
def test_the_link_opens_a_table_with_metrics_and_best_run_first(
    browser: BrowserContext, runs: dict[str, Run], experiment: str, name: str, columns: list[str]
) -> None:
    """In a browser that knows nothing of MLflow yet."""
    run = runs[name]
    page = open_link(browser, view.runs_url(run.info.experiment_id))
    expect(page.get_by_role("button", name="Results")).to_be_visible()
    shown = cells(page, run, columns)
    for column in columns:
        if column in run.data.params:
            assert shown[column] == run.data.params[column]
        else:
            assert float(shown[column]) == pytest.approx(run.data.metrics[column], rel=1e-3)
    objective = columns[0]
    listed = page.locator(f"[row-index] [col-id$='.`{objective}`']").all_inner_texts()
    values = [float(text) for text in listed if text != "-"]
    assert len(values) > 1
    assert values == sorted(values, reverse=objective == "best/val_accuracy")
    page.close()


def test_the_chart_view_of_the_link_has_curves_and_images(
    browser: BrowserContext, runs: dict[str, Run]
) -> None:
    link = view.runs_url(runs["level=easy"].info.experiment_id).replace("=TABLE", "=CHART")
    page = open_link(browser, link)
    page.set_viewport_size({"width": 1360, "height": 1300})  # what is farther down is not drawn
    expect(page.get_by_role("heading", name="val/loss", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name="val/accuracy", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name="val/gate_entropy", exact=True)).to_be_hidden()
    expect(page.get_by_role("heading", name="images/learning", exact=True)).to_be_visible()
    picture = page.locator("img[src*='images']").first
    expect(picture).to_be_visible()
    width = picture.evaluate("async image => { await image.decode(); return image.naturalWidth }")
    assert width > 200
    page.close()


def test_the_link_of_a_run_opens_it(browser: BrowserContext, runs: dict[str, Run]) -> None:
    """Its tags are those that a person reads."""
    run = runs["mixing=logits"]
    page = open_link(browser, view.run_url(run.info.run_id))
    expect(page.get_by_role("heading", name="mixing=logits")).to_be_visible()
    expect(page.get_by_text("data_fingerprint").first).to_be_visible()
    expect(page.get_by_text("process_id")).to_be_hidden()
    expect(page.get_by_text("mlflow.process")).to_be_hidden()
    page.close()


def test_two_runs_are_compared(page: Page, runs: dict[str, Run], screenshots: Path) -> None:
    """By their curves, one over the other, and by the parameters in which they differ."""
    compared = [runs["moe seed=0"], runs["mixing=logits"]]
    link = view.runs_url(compared[0].info.experiment_id).replace("=TABLE", "=CHART")
    page.set_viewport_size({"width": 1360, "height": 900})
    page.goto(link.removeprefix(view.LOCAL_ADDRESS))
    search = page.get_by_placeholder("metrics.rmse")
    search.fill("tags.entry_point = 'moe' AND params.num_epochs = '20'")
    search.press("Enter")
    expect(page.get_by_text("3 matching runs")).to_be_visible()
    page.get_by_placeholder("Search metric charts").fill("^val/(accuracy|gate|hard|loss)")
    expect(page.get_by_role("heading", name="val/loss", exact=True)).to_be_visible()
    # Each of three curves is there twice, as it is and smoothed.
    page.wait_for_function(
        """() => {
            const charts = [...document.querySelectorAll(".js-plotly-plot")];
            return charts.length === 4 && charts.every(chart => chart.data.length === 6);
        }"""
    )
    drawn = page.locator(".js-plotly-plot").first.evaluate(
        "plot => Object.fromEntries(plot.data.map(line => [line.uuid, Array.from(line.y)]))"
    )
    for run in compared:
        history = MlflowClient().get_metric_history(run.info.run_id, "val/accuracy")
        assert drawn[run.info.run_id] == [point.value for point in history]
    page.screenshot(path=screenshots / "mlflow-ui.png")

    for run in compared:
        row_of(page, run).get_by_role("checkbox").first.click()
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_role("heading", name="Comparing 2 Runs")).to_be_visible()
    page.get_by_role("switch").first.click()  # show differences only
    expect(page.get_by_role("rowheader", name="mixing", exact=True)).to_be_visible()
    expect(page.get_by_role("rowheader", name="num_experts", exact=True)).to_be_hidden()


def test_a_figure_is_opened(page: Page, runs: dict[str, Run]) -> None:
    run = runs["moe seed=0"]
    open_experiment(page, "moe")
    row_of(page, run).get_by_role("link").click()
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("figures", exact=True).click()
    page.get_by_text("decision_surface.png", exact=True).click()
    picture = page.get_by_role("img", name="figures/decision_surface.png")
    expect(picture).to_be_visible()
    width = picture.evaluate("async image => { await image.decode(); return image.naturalWidth }")
    assert width > 500


def test_a_study_is_unfolded(page: Page, runs: dict[str, Run], screenshots: Path) -> None:
    """Under the study are its trials and finals, with what they tried and how they ended."""
    open_experiment(page, "moe")
    row_of(page, runs["moe-study"]).get_by_role("button").click()
    trial = runs["trial 0"]
    expect(row_of(page, trial)).to_be_visible()
    choose_columns(page, *DEFAULT_COLUMNS, *PARAMETERS, "best/val_accuracy", "optuna.trial_state")
    assert cells(page, trial, ["optuna.trial_state"]) == {"optuna.trial_state": "COMPLETE"}
    tried = {name: trial.data.params[name] for name in PARAMETERS}
    assert cells(page, trial, PARAMETERS) == tried
    page.screenshot(path=screenshots / "study.png")


def test_a_champion_has_a_page_with_its_card(
    page: Page, runs: dict[str, Run], screenshots: Path
) -> None:
    version = MlflowClient().get_model_version_by_alias("moe", "champion")
    page.goto("/#/models")
    introduction = page.get_by_role("dialog")
    page.get_by_role("button", name="Try it now").click()
    expect(introduction).to_be_hidden()
    page.get_by_role("main").get_by_role("link", name="moe", exact=True).click()
    expect(page.get_by_text("@ champion")).to_be_visible()
    page.get_by_role("link", name=f"Version {version.version}").click()
    for heading in ("Promotion", "Test split", "Where it comes from", "Use", "Configuration"):
        expect(page.get_by_role("heading", name=heading)).to_be_attached()
    card = page.get_by_role("main").inner_text()
    mean, spread = float(version.tags["metric_mean"]), float(version.tags["metric_std"])
    assert f"val/accuracy {mean:.4f} ± {spread:.4f}" in card
    assert version.tags["command"] in card
    page.screenshot(path=screenshots / "champion.png")
