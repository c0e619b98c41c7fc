"""Ways to host streams that are set side by side do the same work."""

from __future__ import annotations

import asyncio

import pytest

from streamser.hosting.records import SessionHost
from streamser.server import app
from streamser.settings import Settings
from tests.server.serving import Told, demo, encode, finals_of, patience, serving, whole
from tests.tools.bench.streams.test_load import report
from tools.bench.streams import designs
from tools.bench.streams.designs import DESIGNS, designs_page, run_designs
from tools.bench.streams.load import LoadBench
from tools.bench.streams.load_report import LoadReport
from tools.bench.streams.locked import LockedHost
from tools.reporting import markdown


def test_a_lock_around_the_models_gives_the_same_finals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or it would not be the same that is measured."""
    sound = encode(demo())

    async def scene() -> list[Told]:
        async with serving() as server:
            return finals_of(await whole(server, sound))

    ours = asyncio.run(patience(scene()))

    def host(settings: Settings, *others: object) -> SessionHost:
        return LockedHost(settings, lambda line: None)

    monkeypatch.setattr(app, "_host", host)
    assert asyncio.run(patience(scene())) == ours
    assert len(ours) == 4


def test_the_table_says_how_many_each_held_and_where_it_broke_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each design is measured with its own arguments, by the same load."""
    asked: list[LoadBench] = []

    def measure(bench: LoadBench, tell: object) -> LoadReport:
        asked.append(bench)
        return report()

    monkeypatch.setattr(designs, "run_load", measure)
    bench = LoadBench(
        streams=(1, 4, 8), seconds=20.0, bound_ms=150.0, seed=1, command="…", arguments=("--x",)
    )
    page = designs_page(run_designs(bench, DESIGNS, lambda line: None))
    text = markdown(page)
    assert [each.module for each in asked].count("tools.bench.streams.locked") == 1
    assert all(each.arguments[0] == "--x" for each in asked)
    for design in DESIGNS:
        (row,) = [line for line in text.splitlines() if line.startswith(f"| {design.name} |")]
        assert "| 4 | 90 |" in row
        assert "8 (180 ms)" in row
