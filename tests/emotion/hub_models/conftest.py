"""Every public model as a tiny random one, made once, in a hub's cache of the tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from streamser.audio.clip import Samples
from tests.emotion.hub_models.layouts import lay_all, snapshot_of


@pytest.fixture(scope="session")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a hub's cache that holds every model; nobody writes there."""
    return lay_all(tmp_path_factory.mktemp("laid"))


@pytest.fixture
def hub(laid: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the program look into that cache."""
    monkeypatch.setenv("HF_HUB_CACHE", str(laid))
    return laid


@pytest.fixture
def empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the program look into a cache where nothing is."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def copied(laid: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copy a model's files, to be spoilt; returns their directory."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(snapshot_of(name, laid), tmp_path / name))

    return copy


@pytest.fixture(scope="session")
def clips() -> list[Samples]:
    """Return swells of noise with an offset, long and short."""
    made = []
    for seed, length in enumerate((16_000, 24_001, 3_200)):
        rng = np.random.default_rng(seed)
        loudness = 0.2 * np.sin(np.linspace(0, np.pi, length)) + 0.02
        made.append((loudness * rng.standard_normal(length) + 0.01).astype(np.float32))
    return made
