"""What a server tells of itself, counted from events alone."""

from __future__ import annotations

from pathlib import Path

import msgspec

import streamser
from streamser.events import Event
from streamser.server.cluster import ClusterCollector, ClusterFigures
from streamser.server.telemetry import Metrics
from tests.cli.samples import closed, failed, felt, sounded


def first_readings(*events: Event) -> tuple[float, float]:
    """Return how many first readings some events hold, and their lags together, in s."""
    metrics = Metrics()
    for event in events:
        metrics.event(event)
    names = ("streamser_stage_seconds_count", "streamser_stage_seconds_sum")
    values = [
        metrics.registry.get_sample_value(name, {"stage": "speech_end_to_reading"})
        for name in names
    ]
    return (values[0] or 0.0, values[1] or 0.0)


def test_the_first_reading_of_an_utterance_is_provisional_or_final() -> None:
    """Each utterance counts once, with the earlier of the two."""
    early = msgspec.structs.replace(felt(), lag_ms=4000.0)
    assert first_readings(sounded(), early) == (1, 0.3)
    assert first_readings(felt()) == (1, 0.081)
    other = msgspec.structs.replace(felt(), item_id="item_s_2")
    assert first_readings(sounded(), early, other) == (2, 0.381)


def test_an_utterance_that_fails_is_waited_for_no_more() -> None:
    """Nor is one whose session is over: an item of that name may come again."""
    fault = msgspec.structs.replace(failed(), item_id="item_s_1")
    assert first_readings(sounded(), fault, felt())[0] == 2
    assert first_readings(sounded(), closed(), felt())[0] == 2


def test_the_build_and_the_process_are_told_too() -> None:
    """Which version runs, on which Python, and what its process takes."""
    told = Metrics().render().decode()
    assert f'streamser_build_info{{version="{streamser.__version__}"}} 1.0' in told
    assert "python_info{" in told
    # Where the system tells of processes.
    assert ("process_resident_memory_bytes" in told) == Path("/proc/self/stat").exists()


def test_a_server_tells_how_it_does_as_one_of_several() -> None:
    """Asked anew each time; a server alone tells nothing of it."""
    metrics = Metrics()
    assert "streamser_cluster" not in metrics.render().decode()
    now = ClusterFigures(redis_away=True, waiting=7, left_out=2, taken_over=1, carried=3)
    metrics.registry.register(ClusterCollector(lambda: now))

    def value(name: str) -> float | None:
        return metrics.registry.get_sample_value(f"streamser_cluster_{name}")

    assert value("redis_away") == 1
    assert value("waiting_events") == 7
    assert value("left_out_events_total") == 2
    assert value("taken_over_meetings_total") == 1
    assert value("carried_connections_total") == 3
    now = msgspec.structs.replace(now, redis_away=False)
    assert value("redis_away") == 0


def test_what_may_be_given_up_is_counted_from_nothing() -> None:
    """An alert sees figures that grow, not those that appear."""
    told = Metrics().render().decode()
    for kind in ("partials", "audio_ms", "deltas", "listeners"):
        assert f'streamser_drops_total{{kind="{kind}"}} 0.0' in told
