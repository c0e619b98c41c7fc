from __future__ import annotations

from streamser.audio.reader import Resampler
from streamser.events import (
    EmotionCompleted,
    EmotionDelta,
    SessionClosed,
    SessionCreated,
    SpeechStopped,
)
from streamser.pipeline.build import build_vads, endpointer_settings
from streamser.pipeline.engine import Engine
from streamser.pipeline.requests import Outcome, Request
from streamser.settings import Settings
from tools.bench.conversation import load_demo
from tools.bench.core import NullModel, answer_nothing, make_session, run_core


def test_a_core_on_one_thread_finds_the_utterances_of_the_demo() -> None:
    """Each turn of the script gives one final, answered on the spot, at the place it says."""
    demo = load_demo()
    asked: list[Request] = []

    def answer(job: Request) -> Outcome:
        asked.append(job)
        return answer_nothing(job)

    session = make_session(Settings(), build_vads(Settings())(), Engine(None, NullModel()))
    total = round(demo.lap_s * demo.rate) + 3 * demo.rate
    blocks = demo.blocks(320, total=total, turns=len(demo.turns))
    events = run_core(
        session, Resampler(demo.rate, 1), (block[:, None] for block in blocks), answer
    )

    assert isinstance(events[0], SessionCreated)
    assert isinstance(events[-1], SessionClosed)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    stops = [event for event in events if isinstance(event, SpeechStopped)]
    finals = [event for event in events if isinstance(event, EmotionCompleted)]
    deltas = [event for event in events if isinstance(event, EmotionDelta)]
    assert len(stops) == len(finals) == len(demo.turns)
    # Nothing is asked in vain beyond speculative finals that were taken back.
    assert len(deltas) == sum(not job.clip.final for job in asked) > len(finals)
    for stop, placed in zip(stops, demo.first(len(stops)), strict=True):
        assert placed.turn.speech is not None
        true_end = placed.start / demo.rate + placed.turn.speech[1]
        tail = endpointer_settings(Settings().endpointing).tail / 16_000
        # A detector gives up a final consonant without voice up to a fifth of a second early.
        assert abs(stop.audio_end_ms / 1000 - tail - true_end) < 0.2
