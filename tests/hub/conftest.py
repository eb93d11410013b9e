"""A hub on the loopback, and waits that take no time."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from hub.server import Hub, Serving


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty hub, which the code under test takes for the hub, and for GitHub."""
    with Serving(Hub()) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        monkeypatch.setenv("MAXACT_GITHUB_RAW", f"{served.address}/raw")
        monkeypatch.setenv("MAXACT_GITHUB_API", f"{served.address}/api")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield served


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited, had they been."""
    seconds: list[float] = []
    monkeypatch.setattr("maxact.hub.client.time", SimpleNamespace(sleep=seconds.append))  # other threads sleep as ever
    return seconds
