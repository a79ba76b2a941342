"""What tests of the harness share."""

import pytest


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log no models: the tests of the entry points do, and it takes seconds."""
    monkeypatch.setattr("harness.tracking.export.log_model", lambda *_: None)
