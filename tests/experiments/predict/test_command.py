"""Inference: what trained models predict, what is stored with them, and what they refuse."""

import csv
import io
import json
import os
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient
from PIL import Image

import experiments
from datasets.characters import Vocabulary
from experiments.predict.__main__ import main
from experiments.predict.command import inference_of
from harness.command_line import run_command
from harness.errors import UserError
from harness.inference.inference import config_of
from harness.tracking.models import load
from tests.conftest import network_of
from tests.experiments.calibrated import temperature_of

Predict = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def predict(capsys: pytest.CaptureFixture[str]) -> Predict:
    """Predict as on the command line; return the rows that a program would read."""

    def rows_of(*arguments: str) -> list[dict[str, Any]]:
        capsys.readouterr()
        main([*arguments, "--json"])
        rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
        return rows

    return rows_of


def served(uri: str, inputs: np.ndarray) -> np.ndarray:
    """Return what MLflow itself makes of the model."""
    return np.asarray(mlflow.pyfunc.load_model(network_of(uri)).predict(inputs.astype(np.float64)))


@pytest.mark.parametrize("name", experiments.names())
def test_every_model_knows_its_request_and_its_configuration(
    name: str, trained: Callable[..., str], module_store: Path
) -> None:
    (module_store / "README.md").write_text(100 * "what rnn_text reads in the tests ")
    model = load(trained(name))
    assert inference_of(model).request_class.positional == ("model", "inputs")
    experiment = experiments.find(name)
    config_class = experiment.config_class
    assert config_of(model, experiment) == config_class(**config_class.tiny)


def test_points_get_class_probability_and_shares(
    trained: Callable[..., str], predict: Predict, tmp_path: Path
) -> None:
    uri = trained("moe", num_experts=3)
    file = tmp_path / "points.CSV"
    file.write_text("-3,1\n0.25,2\n")
    rows = predict(uri, "0.5,-1.2", "-0.5,.25", str(file))
    points = [[0.5, -1.2], [-0.5, 0.25], [-3, 1], [0.25, 2]]
    logits = served(uri, np.array(points, dtype=np.float32)) / temperature_of(uri)
    of_one = 1 / (1 + np.exp(-logits))
    assert [row["class"] for row in rows] == (of_one > 0.5).astype(int).astype(str).tolist()
    expected = np.maximum(of_one, 1 - of_one)
    np.testing.assert_allclose([row["probability"] for row in rows], expected, rtol=1e-5)
    shares = np.array([[row[f"expert_{k}"] for k in (1, 2, 3)] for row in rows])
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)
    assert [row["input"] for row in rows] == ["0.5,-1.2", "-0.5,.25", "-3,1", "0.25,2"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("1,2\n3\n", "line 2: '3' is no point"),
        ("1,2\nx,y\n", "line 2: 'x,y' is no point"),
        ("1,nan\n", "1,nan: y=nan: no finite number"),
        ("1e39,0\n", r"1e39,0: x=1e\+39: no finite number"),
        (
            "1,2\n" + 150_000 * "1" + ",2\n",
            "line 2: field larger than field limit|x=inf: no finite number",
        ),
        ("", "is empty"),
    ],
)
def test_a_bad_line_of_points_is_named_and_the_others_are_predicted(
    content: str,
    reason: str,
    trained: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "points.csv"
    file.write_text(content)
    with pytest.raises(UserError, match="1 of "):
        main([trained("moe"), "3,4", str(file), "0.5,6"])
    printed = capsys.readouterr()
    assert re.search(reason, printed.err)
    first = [line.split()[0] for line in printed.out.splitlines()[1:]]
    assert first == ["3,4", *(["1,2"] if content.startswith("1,2") else []), "0.5,6"]


@pytest.mark.parametrize("point", ["-1e-3,2", "-.5,2", "-5,-2"])
def test_a_negative_number_is_no_option(
    point: str, trained: Callable[..., str], predict: Predict
) -> None:
    uri = trained("moe")
    (row,) = predict(uri, point)
    x, y = map(float, point.split(","))
    logit = served(uri, np.array([[x, y]])).item() / temperature_of(uri)
    probability = 1 / (1 + np.exp(-logit))
    assert row["input"] == point
    assert row["probability"] == pytest.approx(max(probability, 1 - probability), rel=1e-5)


BAD_AND_GOOD: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "moe": ({}, ["1", "nan,0"], ["1,2", "3,-1"]),
    "cnn": ({}, ["nowhere.png", 300 * "a", "~nobody-of-that-name/x.png"], ["1.png", "2.png"]),
    "rnn": ({}, ["THE 9", ""], ["abc", "hello world"]),
    "rnn_text": ({"text": "", "length": 20}, ["THE 9"], ["the ", "a"]),
    "seq_classification": ({}, ["?", "none.csv"], ["BacXbdcYaE", "Bac"]),
}
"""By architecture: changes of its configuration, inputs that fail, and inputs that do not."""


@pytest.mark.parametrize("output", [(), ("--json",), ("--csv",)])
@pytest.mark.parametrize("name", BAD_AND_GOOD)
def test_bad_inputs_have_a_line_each_and_the_others_are_predicted(
    name: str,
    output: tuple[str, ...],
    trained: Callable[..., str],
    module_store: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    changes, bad, good = BAD_AND_GOOD[name]
    for number in ("1", "2"):
        photograph(module_store / f"{number}.png", int(number))
    uri = trained(name, **changes)
    capsys.readouterr()
    main([uri, *good, *output])
    alone = capsys.readouterr().out
    with pytest.raises(UserError, match=f"^{len(bad)} of {len(bad + good)} inputs failed$"):
        main([uri, good[0], *bad, good[1], *output])
    printed = capsys.readouterr()
    assert [line.split(":")[:2] for line in printed.err.splitlines()] == [
        ["error", f" inputs={text}"] for text in bad
    ]
    if output == ("--json",):
        rows = json.loads(printed.out)
        assert [row["input"] for row in rows if "error" in row] == bad
        answered, expected = [row for row in rows if "error" not in row], json.loads(alone)
        for row, other in zip(answered, expected, strict=True):
            numbers = {k: v for k, v in row.items() if isinstance(v, float)}
            assert numbers == pytest.approx({k: other[k] for k in numbers}, rel=1e-5)
            words = row.keys() - numbers.keys()
            assert {k: row[k] for k in words} == {k: other[k] for k in words}
    elif not output:
        assert printed.out == alone


def photograph(path: Path, seed: int) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).resize((400, 300)).save(path)
    return path


def test_photographs_are_classified_beside_files_that_are_none(
    trained: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = trained("cnn")
    folder = tmp_path / "photographs"
    files = [photograph(folder / f"{name}.png", seed) for seed, name in enumerate("ace")]
    (folder / "b.jpg").write_text("no photograph")
    with pytest.raises(UserError, match="2 of 5 inputs failed"):
        main([uri, str(folder), "nowhere.jpg", "--json"])
    rows = json.loads(capsys.readouterr().out)
    names = [Path(row["input"]).name for row in rows]
    assert names == ["a.png", "b.jpg", "c.png", "e.png", "nowhere.jpg"]
    assert [row.get("error") for row in rows if "error" in row] == [
        "image: not an image (13 bytes)",
        "no such photograph",
    ]
    answered = [row for row in rows if "error" not in row]
    for file, row in zip(files, answered, strict=True):
        with Image.open(file) as image:
            pixels = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR, reducing_gap=2))
        logits = served(uri, (pixels / 255).astype(np.float32).transpose(2, 0, 1)[None])[0]
        logits /= temperature_of(uri)
        expected = np.exp(logits) / np.exp(logits).sum()
        assert row["class"] == ("cats", "dogs")[expected.argmax()]
        assert row["probability"] == pytest.approx(expected.max(), abs=0.02)


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_any_file_name_is_printed_in_any_terminal(
    encoding: str, trained: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(photograph(tmp_path / "photographs" / "고양이 🐱.png", 0))
    monkeypatch.setenv("MPLBACKEND", "agg")
    uri, printed = trained("cnn"), {}
    for option in ("--json", "--csv", "--csv=false"):
        terminal = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", terminal)
        run_command(partial(main, [uri, file, option]))
        terminal.flush()
        content = terminal.buffer
        assert isinstance(content, io.BytesIO)
        printed[option] = content.getvalue().decode(encoding)
    (row,) = json.loads(printed["--json"])
    assert row["input"] == file
    escaped = file.encode(encoding, errors="backslashreplace").decode(encoding)
    (columns,) = csv.DictReader(io.StringIO(printed["--csv"]))
    assert columns["input"] == escaped
    assert escaped in printed["--csv=false"]


def test_explanations_are_pictures_with_names_of_their_own(
    trained: Callable[..., str], predict: Predict, tmp_path: Path
) -> None:
    files = [photograph(tmp_path / folder / "cat.png", 0) for folder in ("one", "two")]
    rows = predict(
        trained("cnn"), *map(str, files), "--explain", "--explain-dir", str(tmp_path / "out")
    )
    assert [Path(row["explanation"]).name for row in rows] == ["cat.png", "cat-2.png"]
    for row in rows:
        with Image.open(row["explanation"]) as picture:
            assert np.asarray(picture.convert("L")).std() > 5


def test_a_folder_without_files_is_refused(trained: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a folder without files"):
        main([trained("cnn"), str(tmp_path)])


def test_a_text_is_continued(
    trained: Callable[..., str], predict: Predict, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = trained("rnn_text", text="", length=20)
    arguments = [uri, "the ", "--num-characters", "30", "--seed", "3"]
    (row,) = predict(*arguments)
    assert predict(*arguments) == [row]
    assert predict(*arguments[:-1], "4") != [row]
    main(arguments)
    assert capsys.readouterr().out == f"the {row['continuation']}\n"
    # The exported model predicts from the whole text what the one that keeps its state does.
    (greedy,) = predict(*arguments[:4], "--temperature", "0")
    text = "the " + greedy["continuation"]
    predicted = served(uri, Vocabulary().encode(text).numpy()[None])[0].argmax(-1)
    assert Vocabulary().decode(torch.from_numpy(predicted[3:-1])) == greedy["continuation"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["Hello"], "inputs=Hello: character 'H' at position 1 is outside the alphabet"),
        ([""], "an empty text"),
        (["abc", "--delay", "3"], "--delay 3: this model was trained with --delay"),
        (["abc", "--colour", "1"], "unknown parameter --colour"),
    ],
)
def test_what_cannot_be_echoed_is_refused(
    arguments: list[str], reason: str, trained: Callable[..., str]
) -> None:
    with pytest.raises(UserError, match=reason):
        main([trained("rnn"), *arguments])


def test_a_negative_temperature_is_refused(trained: Callable[..., str]) -> None:
    with pytest.raises(UserError, match="--temperature -1"):
        main([trained("rnn_text", text="", length=20), "abc", "--temperature", "-1"])


def test_sequences_come_as_words_or_in_a_file(
    trained: Callable[..., str], predict: Predict, tmp_path: Path
) -> None:
    uri = trained("seq_classification")
    file = tmp_path / "sequences.csv"
    file.write_text("XX,BacXbdcXaE\nBabYE\n")
    rows = predict(uri, "BacXbdcYaE", str(file))
    symbols = load(uri).metadata["symbols"]
    for row, text in zip(rows, ("BacXbdcYaE", "BacXbdcXaE", "BabYE"), strict=True):
        logits = served(uri, np.array([[symbols.index(symbol) for symbol in text]]))[0]
        logits /= temperature_of(uri)
        expected = np.exp(logits) / np.exp(logits).sum()
        assert row["input"] == text
        assert row["class"] == ("XX", "XY", "YX", "YY")[expected.argmax()]
        assert row["probability"] == pytest.approx(expected.max(), rel=1e-4)
    assert [row.get("actual") for row in rows] == [None, "XX", None]


def test_what_is_no_sequence_is_refused(
    trained: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "sequences.csv"
    file.write_text("XX,BacE\nXX,BaqE\n")
    with pytest.raises(UserError, match="1 of 2"):
        main([trained("seq_classification"), str(file)])
    assert "inputs=BaqE: sequence: step 3 is 'q'; allowed: 'B', 'E'" in capsys.readouterr().err
    file.write_text("XX,BacE\nXX,Ba,E\n")
    with pytest.raises(UserError, match="1 of 2"):
        main([trained("seq_classification"), str(file)])
    assert "line 2: 3 fields" in capsys.readouterr().err
    uri = trained("seq_classification", encoder="transformer")
    with pytest.raises(UserError, match="1,025 steps; a sequence has 1 to 1,024"):
        main([uri, "a" * 1025])


def test_channels_are_read_from_a_file(
    trained: Callable[..., str], predict: Predict, tmp_path: Path
) -> None:
    uri = trained("seq_classification", task="adding", level="hard", length=12)
    file = tmp_path / "steps.csv"
    file.write_text("0.5,1\n0.25,0\n0.125,1\n")
    (row,) = predict(uri, str(file))
    steps = np.array([[[0.5, 1], [0.25, 0], [0.125, 1]]], dtype=np.float32)
    assert row["value"] == pytest.approx(served(uri, steps).item(), rel=1e-4)
    file.write_text("0.5,1\n0.25\n")
    with pytest.raises(UserError, match="line 2: needed: 2 finite numbers"):
        main([uri, str(file)])
    for gap in ("nan,1", "", ","):
        file.write_text(f"0.5,1\n{gap}\n0.25,0\n")
        with pytest.raises(UserError, match="line 2: "):
            main([uri, str(file)])
    with pytest.raises(UserError, match="this model reads files of series"):
        main([uri, "abc"])


def test_predictions_are_printed_as_csv_and_as_a_table(
    trained: Callable[..., str], predict: Predict, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = trained("moe")
    rows = predict(uri, "1,2", "3,4")
    main([uri, "1,2", "3,4", "--csv"])
    read = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    for row, line in zip(rows, read, strict=True):
        assert line["input"] == row["input"]
        assert float(line["probability"]) == pytest.approx(row["probability"], rel=1e-5)
    main([uri, "1,2", "3,4"])
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == list(rows[0])
    assert [line.split()[0] for line in lines] == ["1,2", "3,4"]
    with pytest.raises(UserError, match="only one of them"):
        main([uri, "1,2", "--csv", "--json"])


def test_a_registered_model_is_found_and_a_near_name_is_named(trained: Callable[..., str]) -> None:
    with pytest.raises(UserError, match="no model is registered yet"):
        main(["models:/moe@champion", "1,2"])
    version = mlflow.register_model(trained("moe"), "moe")
    MlflowClient().set_registered_model_alias("moe", "champion", version.version)
    main(["models:/moe@champion", "1,2"])
    with pytest.raises(UserError, match="did you mean models:/moe@champion"):
        main(["models:/mo@champion", "1,2"])
    with pytest.raises(UserError, match="did you mean models:/moe@champion"):
        main(["models:/moe@champ", "1,2"])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "required: model"),
        (["--json"], "required: model"),
        (["nowhere", "1,2"], "model=nowhere: cannot be loaded .* there is no such folder"),
        (["runs:/0123456789abcdef0123456789abcdef/model", "1,2"], "not found"),
        (
            ["0123456789abcdef0123456789abcdef", "1,2"],
            "did you mean runs:/0123456789abcdef.*/model",
        ),
        (["s3://nope/x", "1,2"], "model=s3://nope/x: cannot be loaded"),
    ],
)
def test_what_is_no_model_is_refused(arguments: list[str], reason: str, module_store: Path) -> None:
    with pytest.raises(UserError, match=reason):
        main(arguments)


def test_a_run_is_completed_to_its_model(trained: Callable[..., str]) -> None:
    run, _, _ = trained("moe").rpartition("/")
    for uri in (run, run + "/", run.removeprefix("runs:/")):
        with pytest.raises(UserError, match=f"did you mean {run}/model"):
            main([uri, "1,2"])


def test_explanations_go_to_a_folder_that_can_be_written(
    trained: Callable[..., str], tmp_path: Path
) -> None:
    photo, file = photograph(tmp_path / "cat.png", 0), tmp_path / "file"
    file.write_text("")
    for folder in (file, file / "below"):
        with pytest.raises(UserError, match=f"--explain-dir {folder}: "):
            main([trained("cnn"), str(photo), "--explain", "--explain-dir", str(folder)])


@pytest.mark.parametrize("option", ["--json", "--csv", "--explain"])
def test_a_file_name_that_is_no_utf8_is_printed(
    option: str, trained: Callable[..., str], module_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    photograph(module_store / "cat.png", 0).rename(module_store / name)
    uri, printed = trained("cnn"), io.BytesIO()
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="utf-8"))
    run_command(partial(main, [uri, name, option]))
    sys.stdout.flush()
    text = printed.getvalue().decode()
    if option == "--json":
        assert json.loads(text)[0]["input"] == name
    else:
        assert r"caf\udce9.png" in text


@pytest.mark.slow
def test_a_model_of_others_is_refused(module_store: Path, tmp_path: Path) -> None:
    example = np.zeros((2, 2), dtype=np.float32)
    model = torch.nn.Linear(2, 1)
    mlflow.pytorch.save_model(
        model, str(tmp_path / "model"), input_example=example, serialization_format="pt2"
    )
    with pytest.raises(UserError, match="does not say what it was trained as"):
        main([str(tmp_path / "model"), "1,2"])


def test_a_model_that_takes_arrays_only_is_refused_in_one_line(
    trained: Callable[..., str], tmp_path: Path
) -> None:
    """Such as one that was logged before models took raw inputs."""
    network = network_of(trained("moe"))
    with pytest.raises(UserError, match=r"^model=.*: takes arrays only, no raw inputs; train it"):
        main([network, "1,2"])
