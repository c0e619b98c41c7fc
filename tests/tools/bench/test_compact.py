from __future__ import annotations

from collections.abc import Sequence

import pytest

from streamser.emotion.model import Place, Segment
from streamser.machine import describe_machine
from tests.pipeline.doubles import LoudnessModel, speech
from tools.bench import compact
from tools.bench.compact import (
    CompactReport,
    Growing,
    Timing,
    compact_page,
    measure_compact,
    measure_growing,
)
from tools.bench.measure import Spread
from tools.bench.startup import Loading
from tools.reporting import markdown


def timing(seconds: float, milliseconds: float) -> Timing:
    """Return a timing that is the same at each run."""
    same = Spread(
        n=60,
        least=milliseconds,
        p50=milliseconds,
        p95=milliseconds,
        p99=milliseconds,
        most=milliseconds,
    )
    return Timing(seconds=seconds, words=True, extract=same, predict=same)


@pytest.mark.parametrize(("milliseconds", "verdict"), [(5.0, "met"), (50.0, "MISSED")])
def test_the_report_holds_each_figure_against_its_goal(milliseconds: float, verdict: str) -> None:
    """Bytes, start, time and memory; what misses its goal says so."""
    report = CompactReport(
        command="python -m tools.bench compact",
        seed=0,
        machine=describe_machine(),
        bytes=19_000_000,
        loading=Loading(0.5, 90.0),
        listen_mib=270.0,
        torch=None,
        timings=(timing(5.0, milliseconds),),
        growing=(Growing(seconds=15.0, clips=30, streamed=4.0, anew=16.0, listener=1.0),),
    )
    lines = markdown(compact_page(report)).splitlines()
    (row,) = [line for line in lines if line.startswith("| 5 s of voice")]
    assert row.endswith(f"| ≤ 40 ms | {verdict} |")
    assert not any("torch" in line for line in lines)
    assert "| 15 s | 30 | 4.00 | 16.00 | 0.25 | 1.00 |" in lines


def test_a_growing_utterance_is_asked_about_as_a_session_asks() -> None:
    """All but the last clip are said to grow, and every other round says nothing of places."""
    places: list[Place | None] = []

    class Listening(LoudnessModel):
        def extract(self, batch: Sequence[Segment]) -> list[float]:
            places.extend(each.place for each in batch)
            return super().extract(batch)

    found = measure_growing(Listening(), speech((1.2, 0.3)), runs=1)
    assert found.clips == 3
    assert [place and place.growing for place in places] == [True, True, False, None, None, None]


def test_the_bundled_model_is_measured_as_it_ships(monkeypatch: pytest.MonkeyPatch) -> None:
    """In processes of their own, and within its memory and size."""
    monkeypatch.setattr(compact, "_RUNS", 2)
    monkeypatch.setattr(compact, "_SECONDS", (1.0, 5.0))
    monkeypatch.setattr(compact, "_GROWING", (1.2,))
    monkeypatch.setattr(compact, "_GROWING_RUNS", 1)
    report = measure_compact("bench compact", lambda line: None)
    assert report.bytes < 30e6
    assert 0 < report.loading.mib < 200
    assert report.listen_mib < 400
    assert [(t.seconds, t.words) for t in report.timings] == [
        (1.0, False),
        (1.0, True),
        (5.0, False),
        (5.0, True),
    ]
    (growing,) = report.growing
    assert (growing.seconds, growing.clips) == (1.2, 3)
    assert min(growing.streamed, growing.anew, growing.listener) > 0
