import pytest

from gact.codecs import normalised


@pytest.fixture(autouse=True)
def any_channels_are_uneven(monkeypatch):
    """Has inputs of normalisations normalised wherever groups reach over channels."""
    monkeypatch.setattr(normalised, "UNEVEN", 0.0)
