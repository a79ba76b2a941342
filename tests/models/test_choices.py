"""Names of choices, and what they agree on."""

import subprocess
import sys
from typing import get_args

import pytest

from models.choices import (
    CELLS,
    CELLS_FOR_INITIALISATION,
    ENCODERS,
    EncoderName,
    Initialisation,
    default_initialisation,
    is_recurrent,
    suits,
)
from tests.conftest import ROOT


def test_every_cell_is_an_encoder_and_every_initialisation_names_its_cells() -> None:
    assert [e for e in ENCODERS if is_recurrent(e)] == list(CELLS)
    assert CELLS[:4] == ("rnn", "lstm", "gru", "mingru")
    missing = set(get_args(Initialisation)) - set(CELLS_FOR_INITIALISATION)
    assert not missing, f"add {missing} to CELLS_FOR_INITIALISATION in models/choices.py"


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_default_initialisation_suits(encoder: EncoderName) -> None:
    assert suits(encoder, default_initialisation(encoder))
    assert suits(encoder, "default")


def test_initialisations_of_some_encoders() -> None:
    chosen = {encoder: default_initialisation(encoder) for encoder in ENCODERS}
    assert chosen["gru"] == "chrono"
    assert chosen["rnn"] == "orthogonal"
    assert chosen["transformer"] == "default"
    assert not suits("gru", "identity")
    assert not suits("tcn", "orthogonal")


def test_choices_are_read_without_torch() -> None:
    program = "import sys, models.choices; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0
