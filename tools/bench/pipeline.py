"""Run every measurement of the pipeline, one after another, into one report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from streamser.audio.clip import SAMPLE_RATE
from streamser.machine import describe_machine
from tools.bench.conversation import Conversation, load_demo, load_recordings
from tools.bench.cost import measure_partials
from tools.bench.figures import SECTIONS, PipelineReport, Sections, figures_of
from tools.bench.front import measure_front
from tools.bench.latency import Listening, Recogniser, measure_latency
from tools.bench.memory import measure_memory
from tools.bench.startup import measure_startup

__all__ = ["FULL", "QUICK", "Plan", "run_pipeline"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Say how much is measured; ``together`` plays all live configurations at once."""

    command: str = ""
    quick: bool = False
    parts: tuple[str, ...] = SECTIONS
    recordings: Path | None = None
    front_s: float = 300.0
    cost_s: float = 300.0
    passes: int = 5
    launches: int = 7
    utterances: int = 48
    recognisers: tuple[Recogniser, ...] = ("none", "whisper")
    live_rate: int = SAMPLE_RATE
    together: bool = False
    hours: float = 3.0


FULL = Plan()
QUICK = Plan(
    quick=True, front_s=6, cost_s=12, passes=1, launches=1, utterances=2, together=True, hours=0.02
)


def run_pipeline(plan: Plan, tell: Callable[[str], None]) -> PipelineReport:
    """Measure what a plan says; ``tell`` gets a line of progress now and then.

    Raises ``AudioError`` where the recordings cannot be used, ``StreamserError`` where a
    process of its own fails.
    """
    folder = plan.recordings
    conversation = load_demo() if folder is None else load_recordings(folder)
    sections = Sections(
        front=(
            measure_front(conversation, plan.front_s, plan.passes, tell)
            if "front" in plan.parts
            else None
        ),
        partials=(
            measure_partials(conversation, plan.cost_s, plan.passes, tell)
            if "partials" in plan.parts
            else None
        ),
        startup=measure_startup(plan.launches, tell) if "startup" in plan.parts else None,
        latency=(
            measure_latency(_listening(plan, conversation), tell)
            if "latency" in plan.parts
            else None
        ),
        memory=measure_memory(plan.hours, folder, tell) if "memory" in plan.parts else None,
    )
    return PipelineReport(
        command=plan.command,
        seed=conversation.seed,
        quick=plan.quick,
        machine=describe_machine(),
        recordings=conversation.name,
        lap_s=round(conversation.lap_s, 2),
        sections=sections,
        figures=figures_of(sections, quick=plan.quick),
    )


def _listening(plan: Plan, conversation: Conversation) -> Listening:
    return Listening(
        conversation=conversation.at_rate(plan.live_rate),
        turns=plan.utterances,
        recognisers=plan.recognisers,
        together=plan.together,
    )
