"""What tests of the report share: small runs, one browser for all pages, and pages for many tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chromium import Browser, chromium_path
from made_up import MadeUp, made_up
from untrained_runs import write_run


@pytest.fixture
def data(market_folder: Callable[..., Path]) -> Path:
    return market_folder(test_ids=5, cameras=3)


@pytest.fixture
def make_run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    monkeypatch.chdir(tmp_path)
    return lambda name="run", **changes: write_run(tmp_path / name, data, **changes)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = chromium_path()
    if path is None:
        assert not os.environ.get("CHROMIUM_REQUIRED"), "no Chromium is installed"
        pytest.skip("no Chromium is installed: apt-get install chromium chromium-driver")
    browser = Browser(path)
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """Whatever a test does, the console stays empty and nothing but files is asked for."""
    yield chromium
    assert chromium.complaints() == []
    assert {url.split(":")[0] for url in chromium.requested()} <= {"file", "about"}


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[MadeUp, Path]:
    """24 queries, of which the last two have no match."""
    page = made_up(24, unmatched=2)
    return page, page.write(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[MadeUp, Path]:
    """24 queries and two models."""
    page = made_up(24, models=2)
    return page, page.write(tmp_path_factory.mktemp("pair"))
