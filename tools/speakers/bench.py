"""Measure how well voices at one microphone are told apart: ``python -m tools.speakers.bench``.

Makes meetings of DIR's emodb/, ravdess_eval/, speech/ and noise_rir/, lets them be heard as a
session hears them, and judges who was said to speak, at once and after correction, and how the
emotion of each utterance is read against whose past. An hour on one core, most of it to describe
voices; ``--keep`` keeps what was heard.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from streamser.audio.clip import SAMPLE_RATE
from streamser.cli.console import ending_soon, mend_streams, tell
from streamser.emotion.compact.model import load_compact
from streamser.errors import StreamserError
from streamser.machine import describe_machine
from streamser.pipeline.session_config import VoicesApart
from streamser.speech.diarisation import Spoken, Telling
from streamser.speech.speakers import BUNDLED, SpeakerEmbedder, load_embedder, space_of
from streamser.speech.vad import load_silero
from tools.reporting import Files, Page, publish, shown_command
from tools.speakers.emotions import KeptFeatures, read_emotions
from tools.speakers.hearing import Kept, SpaceOf, diarise, hear
from tools.speakers.meetings import Meeting, cells, make_meetings
from tools.speakers.overlaps import Mixed, Overlaps, alone, mixed_of
from tools.speakers.peers.report import read_peers
from tools.speakers.report import Judged, SpeakersReport, speakers_page, trials_section
from tools.speakers.scoring import Told, judge
from tools.speakers.trials import TRIALS
from tools.speakers.voices import Part
from tools.talk import ASSETS

__all__ = ["Bench", "Reading", "main", "run_bench", "run_trials"]

_LIKENESS = 0.6
"""Of voices of one speaker, where the embedder is another than the bundled one."""
PROGRAM = "python -m tools.speakers.bench"


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what is measured: so many meetings of each kind, by the voices of one side.

    ``told``: the number of people is told before a meeting.
    """

    data: Path
    part: Part = "judge"
    count: int = 4
    seed: int = 1
    told: bool = False


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """Say how emotions are read: of what features, and how voices are told apart for it."""

    features: KeptFeatures
    apart: VoicesApart


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code."""
    mend_streams()
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(given)
    bench = Bench(
        data=options.data,
        part="tune" if options.tune else "judge",
        count=options.meetings,
        seed=options.seed,
        told=options.told,
    )
    files = Files(json=options.json, markdown=options.markdown)
    try:
        files.check()
        peers = None
        if options.peers is not None:
            peers = read_peers(options.peers, bench.part, bench.seed)
        with ending_soon():
            embedder = load_embedder(options.embedder)
            space = space_of(options.embedder, _LIKENESS)
            kept, overlaps = Kept(options.keep, embedder), Overlaps(options.keep)
            if options.trials:
                tried = run_trials(bench, embedder, space, kept, overlaps)
                page = Page(title="What was tried", sections=(trials_section(tried),))
                publish(page, Files(markdown=options.markdown), None)
                return 0
            model = load_compact(ASSETS / "models" / "compact", "compact")
            reading = Reading(
                features=KeptFeatures(model, options.keep),
                apart=VoicesApart(embedder=options.embedder, likeness=_LIKENESS),
            )
            judged = run_bench(bench, embedder, space, kept, overlaps, reading)
        report = SpeakersReport(
            command=shown_command(PROGRAM, given),
            seed=bench.seed,
            machine=describe_machine(),
            part=bench.part,
            count=bench.count,
            told=bench.told,
            embedder=embedder.name,
            judged=judged,
            peers=peers,
        )
        publish(speakers_page(report), files, report)
    except StreamserError as error:
        print(f"streamser: {error}", file=sys.stderr)
        return 1
    return 0


def run_bench(
    bench: Bench,
    embedder: SpeakerEmbedder,
    space: SpaceOf,
    kept: Kept,
    overlaps: Overlaps,
    reading: Reading,
) -> tuple[Judged, ...]:
    """Judge all meetings; raises ``ConfigError`` where ``bench.data`` lacks some recordings."""
    found = []
    for name, meeting, heard, mixed in _heard(bench, embedder, kept, overlaps):
        telling = Telling(most=meeting.people, exactly=True) if bench.told else Telling()
        judged = _scored(meeting, *diarise(heard, space, telling))
        features = reading.features.of(name, meeting, heard)
        apart = replace(reading.apart, telling=telling)
        read = read_emotions(meeting, heard, features, reading.features.new_speaker, apart)
        found.append(replace(judged, read=read, mixed=mixed))
    return tuple(found)


def run_trials(
    bench: Bench, embedder: SpeakerEmbedder, space: SpaceOf, kept: Kept, overlaps: Overlaps
) -> dict[str, tuple[Judged, ...]]:
    """Judge all meetings in each way that was tried; raises as ``run_bench`` does."""
    found: dict[str, list[Judged]] = {name: [] for name in TRIALS}
    for _, meeting, heard, _ in _heard(bench, embedder, kept, overlaps):
        for name, trial in TRIALS.items():
            found[name].append(_scored(meeting, *trial(heard, space)))
    return {name: tuple(judged) for name, judged in found.items()}


def _heard(
    bench: Bench, embedder: SpeakerEmbedder, kept: Kept, overlaps: Overlaps
) -> Iterator[tuple[str, Meeting, tuple[Spoken, ...], Mixed]]:
    silero = load_silero()
    number = bench.count * len(cells(bench.part))
    made = make_meetings(bench.data, bench.part, bench.count, bench.seed)
    for done, meeting in enumerate(made, 1):
        name = f"{bench.part} {bench.seed} {meeting.name}"
        heard = kept.read(name)
        if heard is None:
            heard = hear(meeting, silero, embedder)
            kept.write(name, heard)
        shares = overlaps.of(name, meeting, heard)
        yield name, meeting, alone(heard, shares), mixed_of(meeting, heard, shares)
        if done % 10 == 0:
            tell(f"{done} of {number} meetings")


def _scored(meeting: Meeting, once: Sequence[Told], final: Sequence[Told]) -> Judged:
    seconds = len(meeting.samples) / SAMPLE_RATE
    return Judged(meeting.name, meeting.cell, seconds, judge(meeting, once), judge(meeting, final))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="Measure how well voices at one microphone are told apart."
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="folder of the recordings")
    add("--meetings", type=int, default=4, metavar="N", help="meetings of each kind [4]")
    add("--seed", type=int, default=1, metavar="N", help="what is drawn [1]")
    add("--embedder", default=BUNDLED, metavar="NAME", help="or module:factory [campplus]")
    add("--tune", action="store_true", help="the voices that thresholds were set by")
    add("--told", action="store_true", help="tell how many people there are")
    add("--trials", action="store_true", help="judge what was tried beside what stands")
    add("--keep", type=Path, metavar="DIR", help="keep what was heard; go on from there")
    add("--peers", type=Path, metavar="FILE", help="what tools.speakers.peers --json wrote")
    add("--json", type=Path, metavar="FILE", help="write all figures")
    add("--markdown", type=Path, metavar="FILE", help="write the report")
    return parser


if __name__ == "__main__":
    sys.exit(main())
