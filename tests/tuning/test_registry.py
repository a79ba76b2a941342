"""The registry: what is promoted, what is not, and the way back."""

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import mlflow
import numpy as np
import pytest
import scipy.stats
from mlflow.entities.model_registry import ModelVersion, ModelVersionTag
from mlflow.tracking import MlflowClient

import experiments
from harness.errors import UserError
from harness.experiment import Evaluation
from harness.fingerprints import DataSet
from harness.run_experiment import train_and_evaluate
from harness.tracking import models
from harness.tracking.locations import to_path
from harness.tracking.models import ENSEMBLE
from tests.conftest import ROOT, collect_garbage
from tests.harness import small
from tests.tuning.lines import EXPERIMENT, SPACE, LineConfig, MisbehavingLine
from tests.tuning.test_study import run_study
from tuning import report
from tuning.finalists import Finalist, SeedResult, read_result, winner
from tuning.finals import COMPARED, compare_with_champion
from tuning.registry import promotion, versions
from tuning.registry.command import main
from tuning.registry.config import RegistryConfig
from tuning.registry.promotion import Decision

DATA = DataSet("line", "0123456789ab")


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "draw", lambda *arguments: {})


def test_the_winner_is_the_best_mean_and_its_model_the_best_seed() -> None:
    def finalist(name: str, *values: float) -> Finalist:
        by_seed = {i: SeedResult(f"run {i}", "m", value, DATA) for i, value in enumerate(values, 1)}
        return Finalist(name, LineConfig(), by_seed)

    steady, lucky = finalist("steady", 0.5, 0.6, 0.55), finalist("lucky", 0.9, 0.1, 0.2)
    assert winner([lucky, steady], maximise=True) is steady
    assert winner([lucky, steady], maximise=False) is lucky
    assert steady.best(maximise=True) == (2, steady.by_seed[2])
    assert lucky.best(maximise=False) == (2, lucky.by_seed[2])


def make_version(values: Mapping[int, float], name: str = "") -> str:
    """Register a version whose configuration reached these values; return its number."""
    by_seed = {}
    for seed, value in values.items():
        config = LineConfig(seed=seed, num_epochs=1)
        run = train_and_evaluate(EXPERIMENT, config, read_test=False)
        by_seed[seed] = read_result(run.run_id, "val/accuracy")._replace(value=value, data=DATA)
    finalist = Finalist("trial 1", LineConfig(num_epochs=1), by_seed)
    version = versions.register(
        finalist, {"study_name": "mine"}, "val/accuracy", maximise=True, name=name
    )
    return str(version.version)


def aliases(name: str = "small") -> dict[str, str]:
    found: dict[str, Any] = MlflowClient().get_registered_model(name).aliases
    return {alias: str(number) for alias, number in found.items()}


def test_from_challenger_to_champion_and_back(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated = []

    def evaluate(self: MisbehavingLine, config: LineConfig, *arguments: Any) -> Evaluation:
        evaluated.append(config.seed)
        return Evaluation(metrics={"test/accuracy": 0.5}, headline="Evaluated.")

    monkeypatch.setattr(MisbehavingLine, "evaluate", evaluate)
    monkeypatch.setattr(experiments, "find", lambda entry_point: EXPERIMENT)

    first = make_version({1: 0.70, 2: 0.72})
    assert aliases() == {"challenger": first}
    card = MlflowClient().get_model_version("small", first).description
    assert "0.7100 ± 0.0141" in card
    assert str(DATA) in card
    assert "Not read" in card
    promotion.promote("small", first, "the first")
    assert aliases() == {"challenger": first, "champion": first}
    assert evaluated == [2]  # the seed whose model it is
    version = MlflowClient().get_model_version("small", first)
    assert version.tags["test/accuracy"] == "0.5"
    assert version.tags["promoted"] == "True"
    assert "test/accuracy | 0.5000" in version.description

    second = make_version({1: 0.80, 2: 0.82})
    assert aliases() == {"challenger": second, "champion": first}
    main(RegistryConfig(action="promote", name="small"))
    assert aliases() == {"challenger": second, "champion": second, "previous": first}
    with pytest.raises(UserError, match="champion of small already"):
        main(RegistryConfig(action="promote", name="small"))

    main(RegistryConfig(action="rollback", name="small"))
    assert aliases() == {"challenger": second, "champion": first, "previous": second}
    assert "rolled back" in MlflowClient().get_model_version("small", second).description
    loaded = mlflow.pyfunc.load_model("models:/small@champion")
    weights = models.load(f"models:/small/{first}").weights
    one = np.ones((1, 1))
    assert loaded.predict(one) == pytest.approx((weights["weight"] + weights["bias"]).numpy())

    main(RegistryConfig(action="promote", name="small", version=int(second)))
    assert aliases()["champion"] == second
    assert evaluated == [2, 2], "the test split is read once for each version"
    line = f"version {second} is champion, trained on {DATA}, in place of version {first}, trained"
    assert line in capsys.readouterr().out

    main(RegistryConfig(action="list"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "small"
    assert "challenger, champion" in lines[2]
    assert "0.8100 ± 0.0141" in lines[2]
    assert str(DATA) in lines[2]
    assert "previous" in lines[3]


@pytest.mark.parametrize("damage", ["delete", "replace"])
def test_what_is_evaluated_is_the_registered_model(
    store: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """And not the checkpoint of its run, which may be gone, or that of another model."""
    monkeypatch.setattr(experiments, "find", lambda entry_point: EXPERIMENT)
    number = make_version({1: 0.7}, name="lines")
    run_id = MlflowClient().get_model_version("lines", number).tags["run_id"]
    checkpoint = checkpoint_of(run_id)
    if damage == "delete":
        checkpoint.unlink()
    else:
        other = train_and_evaluate(EXPERIMENT, LineConfig(seed=2, num_epochs=9), read_test=False)
        shutil.copy(checkpoint_of(other.run_id), checkpoint)
    promotion.promote("lines", number, "the first")
    registered = models.load(f"models:/lines/{number}").module
    expected = small.squared_error(registered, small.line()).loss.item()
    version = MlflowClient().get_model_version("lines", number)
    assert "models:/lines@champion" in version.description
    tags = version.tags
    assert float(tags["test/loss"]) == pytest.approx(expected)
    run = MlflowClient().get_run(run_id)
    assert run.data.metrics["test/loss"] == float(tags["test/loss"])
    assert run.info.status == "FINISHED"


def test_the_registry_after_its_champion_is_deleted(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The previous champion takes its place, by rollback or by promotion, and is champion only."""
    monkeypatch.setattr(experiments, "find", lambda entry_point: EXPERIMENT)
    first = make_version({1: 0.7})
    bring_back: Literal["rollback", "promote"]
    for bring_back in ("rollback", "promote"):
        second = make_version({1: 0.8})
        promotion.promote("small", first, "the first")
        promotion.promote("small", second, "the second")
        assert aliases() == {"challenger": second, "champion": second, "previous": first}
        MlflowClient().delete_model_version("small", second)
        version = int(first) if bring_back == "promote" else 0
        main(RegistryConfig(action=bring_back, name="small", version=version))
        assert f"version {first} is champion" in capsys.readouterr().out
        assert aliases() == {"champion": first}
        with pytest.raises(UserError, match=r"no previous champion .*promote small --version N"):
            main(RegistryConfig(action="rollback", name="small"))


def test_what_is_gone_is_named_before_a_promotion_changes_anything(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run of a version, deleted and then removed by `mlflow gc`, and the model's files."""
    monkeypatch.setattr(experiments, "find", lambda entry_point: EXPERIMENT)
    client = MlflowClient()
    first, second = make_version({1: 0.7}), make_version({1: 0.8})
    promotion.promote("small", first, "the first")
    run_id = client.get_model_version("small", second).tags["run_id"]
    promote = RegistryConfig(action="promote", name="small", version=int(second))
    client.delete_run(run_id)
    restore = f"mlflow runs restore --run-id {run_id}"
    with pytest.raises(UserError, match=f"version={second}: the run .* is deleted; .*{restore}"):
        main(promote)
    client.restore_run(run_id)
    main(promote)
    collect_garbage(client.get_model_version("small", first).tags["run_id"])
    main(RegistryConfig(action="rollback", name="small"))  # its test split was read before
    assert aliases()["champion"] == first

    third = make_version({1: 0.9})
    collect_garbage(client.get_model_version("small", third).tags["run_id"])
    gone = rf"version={third}: the run .* is gone.*train and register it again: python -m .*line"
    with pytest.raises(UserError, match=gone):
        main(RegistryConfig(action="promote", name="small"))
    shutil.rmtree(to_path(client.get_model_version_download_uri("small", second)) or "")
    with pytest.raises(UserError, match=f"models:/small/{second}: cannot be loaded"):
        main(RegistryConfig(action="rollback", name="small"))
    assert aliases() == {"challenger": third, "champion": first, "previous": second}


def checkpoint_of(run_id: str) -> Path:
    uri = MlflowClient().get_run(run_id).info.artifact_uri
    return Path(uri.removeprefix("file://")) / "checkpoint" / "last.pt"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ({"action": "promote", "name": "smal"}, ["name=smal", "did you mean small?"]),
        ({"action": "promote"}, ["name", "small"]),
        ({"action": "promote", "name": "small", "version": 9}, ["version=9", "there are: 1"]),
        ({"action": "promote", "name": "small"}, ["version: small has no challenger", "are: 1"]),
        ({"action": "rollback", "name": "small"}, ["no previous champion", "there are: 1"]),
    ],
)
def test_what_cannot_be_done_is_said(
    store: Path, command: dict[str, Any], words: list[str]
) -> None:
    client = MlflowClient()
    client.create_registered_model("small")
    client.create_model_version("small", source=str(store), tags={"metric": "val/loss"})
    with pytest.raises(UserError) as caught:
        main(RegistryConfig(**command))
    for word in words:
        assert word in str(caught.value)


def test_what_is_known_of_the_command_line_is_said_within_a_second() -> None:
    """None of its help needs torch, MLflow or Optuna."""
    script = """
import runpy, sys
for package in ("tuning", "tuning.registry"):
    sys.argv = [package, "--help"]
    try:
        runpy.run_module(package, run_name="__main__")
    except SystemExit as end:
        assert end.code == 0
heavy = {"torch", "mlflow", "optuna", "numpy", "matplotlib", "sklearn"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--final-seeds" in done.stdout
    assert "promote" in done.stdout


@pytest.mark.slow
def test_the_command_line_answers_an_empty_store(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tuning.registry", "promote", "moe"],
        cwd=ROOT,
        env={"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "error: name=moe: no such registered model; there are: none yet; "
        "a study registers its winner\n"
    )


class Comparison:
    """A challenger beside a champion, neither of which is trained."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, champion: Finalist):
        self.champion = self.version(1, champion)
        monkeypatch.setattr(versions, "by_alias", lambda *_: self.champion)
        monkeypatch.setattr(MlflowClient, "set_model_version_tag", lambda *_: None)
        self.values: list[list[float]] = []
        """What challenger and champion reach with new seeds, one after the other."""
        self.data: list[DataSet | Path] = []
        """What they are trained on then."""
        self.seeds: list[int] = []

    def train(self, pool: Any, entries: Any, seeds: list[int]) -> list[Finalist]:
        (seed,) = seeds
        values = self.values[len(self.seeds)]
        self.seeds += seeds
        return [
            finalist({seed: value}, data) for value, data in zip(values, self.data, strict=True)
        ]

    def version(self, number: int, finalist: Finalist) -> ModelVersion:
        seed, best = finalist.best(maximise=True)
        tags = {
            "metric": "val/accuracy",
            "metric_by_seed": json.dumps(finalist.values),
            "configuration": json.dumps(finalist.config.replace(seed=seed).as_parameters()),
            "data": best.data.name,
            "data_fingerprint": finalist.fingerprints,
            "run_id": best.run_id,
        }
        entities = [ModelVersionTag(*tag) for tag in tags.items()]
        return ModelVersion("small", str(number), 0, tags=entities)

    def decide(self, challenger: Finalist) -> Decision:
        space = dataclasses.replace(SPACE, metric="val/accuracy", maximise=True)
        training: Any = self
        self.seeds.clear()
        version = self.version(2, challenger)
        return compare_with_champion(version, challenger, space, training, pool=training)


def finalist(
    values: Mapping[int, float],
    data: DataSet | Path,
    run_id: str = "",
    learning_rate: float = 0.1,
) -> Finalist:
    """Return what has reached these values on some data, or on those of a file."""
    path = str(data) if isinstance(data, Path) else ""
    config = LineConfig(data=path, learning_rate=learning_rate)
    by_seed = {}
    for seed, value in values.items():
        loaded = EXPERIMENT.load_data(config.replace(seed=seed)).data_set
        used = data if isinstance(data, DataSet) else loaded
        by_seed[seed] = SeedResult(run_id, "model", value, used)
    return Finalist("trial 1", config, by_seed)


@pytest.mark.parametrize(
    "other", [DATA._replace(name="other"), DATA._replace(fingerprint="an0ther")]
)
def test_a_champion_of_other_data_is_not_replaced(
    monkeypatch: pytest.MonkeyPatch, other: DataSet
) -> None:
    """However much better the challenger's number is."""
    comparison = Comparison(monkeypatch, finalist({1: 0.70, 2: 0.71}, DATA, learning_rate=0.2))
    comparison.values, comparison.data = [[0.90, 0.70], [0.91, 0.71], [0.92, 0.72]], [DATA, DATA]
    assert comparison.decide(finalist({1: 0.90, 2: 0.91}, DATA)).promoted
    decision = comparison.decide(finalist({1: 0.90, 2: 0.91}, other))
    assert not decision.promoted
    assert decision.reason == (
        f"not comparable: it was trained on {other}, the champion, version 1, on {DATA}; "
        "registered_model_name=NAME keeps a champion of its own for these data, "
        "`python -m tuning.registry promote small --version 2` replaces it"
    )


def test_both_are_trained_with_seeds_that_neither_has_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "points.txt"
    path.write_text("0 1\n1 2\n2 3\n")
    comparison = Comparison(monkeypatch, finalist({1: 0.70, 2: 0.71}, path, learning_rate=0.2))
    comparison.data = [path, path]
    comparison.values = [[0.80, 0.75], [0.81, 0.77], [0.79, 0.70], [0.80, 0.74], [0.8, 0.77]]
    better = comparison.decide(finalist({7: 0.90, 8: 0.91}, path))
    assert better.promoted
    assert comparison.seeds == [9, 10, 11, 12]
    expected = scipy.stats.ttest_rel(*zip(*comparison.values[:4], strict=True)).statistic
    assert better.reason == (
        "better than the champion, version 1, by paired differences: 0.0600 ± 0.0216 over seeds 9 "
        f"to 12, t = {expected:.2f} exceeds 4.91"
    )
    comparison.champion.tags[COMPARED] = json.dumps({"20": 0.1})
    comparison.values = [[0.80, 0.81], [0.70, 0.68], [0.72, 0.74]]
    worse = comparison.decide(finalist({7: 0.90, 8: 0.91}, path))
    assert not worse.promoted, "however much better the finals were"
    assert comparison.seeds == [21, 22, 23]
    assert worse.reason.startswith("not better than the champion, version 1, by paired differences")
    comparison.data = [path, DATA]  # as where the champion had a copy
    copied = comparison.decide(finalist({7: 0.90, 8: 0.91}, path))
    assert copied.reason == "not comparable: the champion was made for other data"
    same = comparison.decide(finalist({7: 0.90, 8: 0.91}, path, learning_rate=0.2))
    assert same.reason == "the same configuration as that of the champion, version 1"
    path.write_text("0 1\n1 2\n2 4\n")
    changed = comparison.decide(finalist({7: 0.90, 8: 0.91}, path))
    assert changed.reason.startswith("not comparable: it was trained on points (")


def test_a_champion_whose_data_were_not_recorded_is_compared_and_that_is_said(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of earlier versions: the run has logged the name of the data set, and no more."""
    client = MlflowClient()
    run_id = train_and_evaluate(EXPERIMENT, LineConfig(num_epochs=1), read_test=False).run_id
    client.delete_tag(run_id, "data")
    client.delete_tag(run_id, "data_fingerprint")
    comparison = Comparison(monkeypatch, finalist({1: 0.7, 2: 0.71}, DATA, run_id, 0.2))
    comparison.values, comparison.data = [[0.90, 0.70], [0.91, 0.71], [0.92, 0.72]], [DATA, DATA]
    del comparison.champion.tags["data"]
    comparison.champion.tags["data_fingerprint"] = "1:of the first values"
    decision = comparison.decide(finalist({1: 0.90, 2: 0.91}, DATA))
    assert decision.promoted
    assert decision.reason.endswith("; the data of version 1 were not recorded")
    named = comparison.decide(finalist({1: 0.90, 2: 0.91}, DATA._replace(name="other")))
    assert "the champion, version 1, on line; " in named.reason


@pytest.mark.slow
def test_studies_promote_a_champion_and_keep_a_better_one(store: Path) -> None:
    """A good study, then one that may only be bad, then one compared on other seeds."""
    good = SPACE.fix({"learning_rate": 0.1, "num_epochs": 6})
    bad = SPACE.fix({"learning_rate": 1e-4, "num_epochs": 6})
    finals: dict[str, Any] = {"trials": 1, "finalists": 1, "final_seeds": 2}
    finals["registered_model_name"] = "lines"
    first = run_study(good, study_name="good", **finals)
    assert first.version is not None
    assert first.decision is not None
    assert first.decision.promoted
    tags = first.version.tags
    assert json.loads(tags["metric_by_seed"]).keys() == {"1", "2"}
    rebuilt = LineConfig(**json.loads(tags["configuration"]))
    assert rebuilt.learning_rate == 0.1
    assert tags["study_name"] == "good"
    assert tags["data_fingerprint"]
    champion_run = MlflowClient().get_run(tags["run_id"])
    assert champion_run.info.status == "FINISHED"
    assert champion_run.data.metrics["test/loss"] == float(tags["test/loss"])
    assert champion_run.data.tags["mlflow.parentRunId"] == first.parent_id
    assert len(champion_run.outputs.model_outputs) == 1

    second = run_study(bad, study_name="bad", **finals)
    assert second.decision is not None
    assert second.version is not None
    assert not second.decision.promoted
    assert "not better than the champion, version 1" in second.decision.reason
    assert min(map(int, json.loads(second.version.tags[COMPARED]))) == 3
    assert "test/loss" not in second.version.tags
    assert aliases("lines") == {"challenger": "2", "champion": "1"}

    # Other seeds draw other data: the champion is trained again on those.
    third = run_study(bad, study_name="other seeds", seed=7, **finals)
    assert third.decision is not None
    assert not third.decision.promoted
    assert "not better than the champion, version 1" in third.decision.reason
    assert third.version is not None
    assert min(map(int, json.loads(third.version.tags[COMPARED]))) == 10
    assert aliases("lines") == {"challenger": "3", "champion": "1"}

    # The same winner is not registered twice.
    again = run_study(good, study_name="good", resume=True, **finals)
    assert again.version is not None
    assert again.version.version == first.version.version
    assert len(versions.versions("lines")) == 3


def test_an_ensemble_is_not_replaced_by_a_single_network(monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = Comparison(monkeypatch, finalist({1: 0.5}, DATA))
    comparison.champion.tags[ENSEMBLE] = "a b"
    decision = comparison.decide(finalist({1: 0.9}, DATA, learning_rate=0.2))
    assert not decision.promoted
    assert "version 1, is an ensemble" in decision.reason
    assert "promote small --version 2` replaces it" in decision.reason
