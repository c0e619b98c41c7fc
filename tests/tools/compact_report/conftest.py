from __future__ import annotations

from pathlib import Path

import pytest

from streamser.emotion.compact.model import load_compact
from tests.emotion.compact.bundles import tiny_bundle
from tests.tools.compact_report.made_data import make_data
from tools.compact_report.bench import Bench
from tools.compact_report.plan import Plan


@pytest.fixture(scope="session")
def made_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder laid out as the real data."""
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def made_models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return two random bundles."""
    root = tmp_path_factory.mktemp("models")
    return tiny_bundle(root / "seed1", 1), tiny_bundle(root / "seed2", 2)


@pytest.fixture(scope="session")
def bench(made_data: Path, made_models: tuple[Path, Path]) -> Bench:
    """Return a bench of both bundles."""
    models = [load_compact(directory, directory.name) for directory in made_models]
    return Bench(made_data, models, made_models, Plan.small())
