"""Try ways to tell voices apart on many people at once: ``python -m tools.speakers.actors``.

    python -m tools.speakers.space --data DIR --keep heard.npz --out FOLDER
    python -m tools.speakers.actors --data DIR --heard heard.npz --keep FOLDER

Meetings of the 72 actors of CREMA-D that taught the space, made audible again. Each half of them,
every other one, meets in a space that was learnt from the other half: so nobody is told apart by
what was learnt from themselves. Thresholds are set by these and by ``bench --tune``; none judges.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.cli.console import ending_soon, mend_streams, tell
from streamser.errors import StreamserError
from streamser.speech.campplus import load_campplus
from streamser.speech.clustering import VoiceSpace
from streamser.speech.vad import load_silero
from tools.reporting import Files, Page, publish
from tools.speakers.hearing import Kept, SpaceOf, hear
from tools.speakers.meetings import Cell, make_meetings
from tools.speakers.report import Judged, trials_section
from tools.speakers.scoring import judge
from tools.speakers.space import Heard, audible, learn, read_clips, read_heard
from tools.speakers.trials import TRIALS
from tools.speakers.voices import Person, Piece, scaled, trimmed

__all__ = ["actor_cells", "half_space", "halves", "main"]

CORPUS: Final = "cremad"
_CLIPS: Final = 4
"""Of each actor and emotion: a minute of speech or so."""
_SHORTEST_S: Final = 0.6


def halves(heard: Heard) -> tuple[frozenset[str], frozenset[str]]:
    """Part the people that were heard in two, every other one."""
    names = [str(name) for name in np.unique(heard.people)]
    return frozenset(names[::2]), frozenset(names[1::2])


def half_space(heard: Heard, without: frozenset[str]) -> VoiceSpace:
    """Learn where voices lie from all but some people."""
    taught = ~np.isin(heard.people, sorted(without))
    voices = heard.voices[taught].astype(np.float64)
    rest = heard.people[taught], heard.sounds[taught], heard.arousal[taught]
    return VoiceSpace(*learn(voices, *rest))


def actor_cells() -> list[Cell]:
    """List the kinds of meetings: two to four people of either half."""
    return [
        Cell(f"{CORPUS}-{half}", people, emotions, noisy)
        for half in (1, 2)
        for emotions in (False, True)
        for people in (2, 3, 4)
        for noisy in (False, True)
    ]


def _people(data: Path, names: frozenset[str], kept: Path, seed: int) -> dict[str, Person]:
    """Make the actors audible, or read what they sounded like the last time."""
    rows, archive = read_clips(data)
    rng = np.random.default_rng(seed)
    kinds: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in rows:
        if row["speaker"] in names:
            kinds.setdefault((row["speaker"], row["emotion"]), []).append(row)
    file = kept / f"actors-{seed}.npz"
    sounds: dict[str, Samples] = {}
    if file.exists():
        with np.load(file) as found:
            sounds = {name: found[name] for name in found.files}
    pieces: dict[str, list[Piece]] = {}
    for (speaker, emotion), each in sorted(kinds.items()):
        for index in rng.permutation(len(each))[:_CLIPS]:
            row = each[index]
            if row["name"] not in sounds:
                offset, count = int(row["offset"]), int(row["n_frames"])
                # Its own numbers: what one sounds like does not depend on who came before.
                own = np.random.default_rng([seed, offset])
                sounds[row["name"]] = audible(archive[offset : offset + count], own)
                if len(sounds) % 100 == 0:
                    tell(f"{len(sounds)} of {len(kinds) * _CLIPS} clips")
            speech = trimmed(sounds[row["name"]])
            if len(speech) >= _SHORTEST_S * SAMPLE_RATE:
                pieces.setdefault(speaker, []).append(Piece(speech, emotion))
    if not file.exists():
        np.savez(file, allow_pickle=False, **sounds)
    return {name: scaled(f"{CORPUS} {name}", said) for name, said in pieces.items()}


def _always(space: VoiceSpace, size: int) -> VoiceSpace:
    return space


def _tried(
    data: Path, heard: Heard, folder: Path, count: int, seed: int
) -> Mapping[str, Sequence[Judged]]:
    silero, embedder = load_silero(), load_campplus()
    kept = Kept(folder, embedder)
    parted = halves(heard)
    people = _people(data, parted[0] | parted[1], folder, seed)
    corpora: dict[str, tuple[Person, ...]] = {}
    spaces: dict[str, SpaceOf] = {}
    for number, half in enumerate(parted, 1):
        corpora[f"{CORPUS}-{number}"] = tuple(people[name] for name in sorted(half))
        spaces[f"{CORPUS}-{number}"] = partial(_always, half_space(heard, half))
    cells = actor_cells()
    found: dict[str, list[Judged]] = {name: [] for name in TRIALS}
    made = make_meetings(data, "tune", count, seed, cells, corpora)
    for done, meeting in enumerate(made, 1):
        name = f"tune {seed} {meeting.name}"
        spoken = kept.read(name)
        if spoken is None:
            spoken = hear(meeting, silero, embedder)
            kept.write(name, spoken)
        space, seconds = spaces[meeting.cell.corpus], len(meeting.samples) / SAMPLE_RATE
        for way, trial in TRIALS.items():
            once, final = (judge(meeting, told) for told in trial(spoken, space))
            found[way].append(Judged(meeting.name, meeting.cell, seconds, once, final))
        if done % 10 == 0:
            tell(f"{done} of {count * len(cells)} meetings")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code."""
    mend_streams()
    parser = argparse.ArgumentParser(prog="python -m tools.speakers.actors")
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="folder of the recordings")
    add("--heard", type=Path, required=True, metavar="FILE.npz", help="what space --keep wrote")
    add("--keep", type=Path, required=True, metavar="DIR", help="keep what was made and heard")
    add("--meetings", type=int, default=4, metavar="N", help="meetings of each kind [4]")
    add("--seed", type=int, default=1, metavar="N", help="what is drawn [1]")
    add("--markdown", type=Path, metavar="FILE", help="write the table")
    options = parser.parse_args(arguments)
    files = Files(markdown=options.markdown)
    try:
        files.check()
        heard = read_heard(options.heard)
        with ending_soon():
            tried = _tried(options.data, heard, options.keep, options.meetings, options.seed)
        title = "What was tried, on actors"
        publish(Page(title=title, sections=(trials_section(tried),)), files, None)
    except StreamserError as error:
        print(f"streamser: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
