"""Whether more of a metric is better."""

import pytest

from harness.errors import UserError
from harness.metric_direction import maximises


@pytest.mark.parametrize(
    ("metric", "is_more_better"),
    [
        ("test/accuracy", True),
        ("test/mutual_information_bits", True),
        ("best/val_loss", False),
        ("test/calibration_error", False),
        ("test/calibrated_brier_score", False),
        ("test/risk_coverage_area", False),
        ("test/bits_per_character", False),
        ("prediction_seconds", False),
    ],
)
def test_the_name_says_it(metric: str, is_more_better: bool) -> None:
    assert maximises(metric, "auto") == is_more_better
    assert maximises(metric, "maximize")
    assert not maximises(metric, "minimize")


def test_a_name_that_does_not_say_it_is_refused() -> None:
    with pytest.raises(UserError, match="metric=val/gate_entropy: does not say whether more"):
        maximises("val/gate_entropy", "auto")
