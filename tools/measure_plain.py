"""Measure what is said of people who talk plainly, and of emotional words, as heard.

    python -m tools.measure_plain --data DIR --whisper DIR [--whisper DIR]… [--noise DB]

The clips of DIR/speech, in which nobody acts, are cut into utterances by the detector as they are
live, and recognised; of each reading it is counted whether it is sure (not ``unsure``) of
something but neutral, which is a false alarm as far as one can tell: by voice alone, with the
words in full, and with words that count by how sure the recogniser is of them. Every clip is a
stream of its own (*cold*), and every speaker's clips are one stream. On the other side stand the
emotional turns of the bundled conversation, each as the first of its stream and all in their
order, where silence has a price: how many are sure and right, and sure and wrong. With ``--noise``
a recorded noise lies under every utterance, so many dB below it, and words are misheard.
"""

from __future__ import annotations

import argparse
import csv
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import soundfile

from streamser.audio.clip import Clip, Samples
from streamser.emotion.compact.model import CompactModel, load_compact
from streamser.emotion.model import Segment
from streamser.speech.transcriber import guarded
from streamser.speech.whisper import WhisperOptions, WhisperTranscriber
from streamser.taxonomy import UNSURE
from tools.nobody import sound_of
from tools.talk import ASSETS, turns, utterances

__all__ = ["WAYS", "Heard", "alarms", "main", "streams_of", "verdicts", "whose"]

WAYS: Final = ("voice alone", "words in full", "words by certainty")
"""What a reading is given."""


class Heard(msgspec.Struct, frozen=True, eq=False):
    """Hold an utterance, who spoke and in which clip, how it was meant, and what was recognised."""

    samples: Samples
    speaker: str
    clip: str
    meant: str = "neutral"
    text: str | None = None
    certainty: float | None = None

    def given(self, way: str) -> Segment:
        """Return what a model is given of it in one of ``WAYS``."""
        if way == "voice alone":
            return Segment(self.samples, None)
        return Segment(
            self.samples,
            self.text,
            certainty=self.certainty if way == "words by certainty" else None,
        )


def plain(data: Path) -> list[Heard]:
    """Return the utterances of the plain clips, not recognised yet."""
    with (data / "speech" / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        Heard(samples, row["speaker"], row["path"])
        for row in rows
        for samples in utterances(soundfile.read(data / "speech" / row["path"], dtype="float32")[0])
    ]


def conversation() -> list[Heard]:
    """Return the turns of the bundled conversation, not recognised yet; all are one stream."""
    return [
        Heard(turn.samples, "all", f"turn {number}", meant=turn.style)
        for number, turn in enumerate(turns())
    ]


def under_noise(said: Iterable[Heard], noise: Samples, level: float, seed: int) -> list[Heard]:
    """Lay a noise under utterances, ``level`` dB below each of them, begun anywhere."""
    rng = np.random.default_rng(seed)
    found = []
    for each in said:
        size = len(each.samples)
        under = np.resize(np.roll(noise, -int(rng.integers(len(noise)))), size)
        gain = float(np.std(each.samples)) / max(1e-9, float(np.std(under))) * 10 ** (-level / 20)
        mixed = np.asarray(each.samples + gain * under, np.float32)
        found.append(msgspec.structs.replace(each, samples=mixed))
    return found


def recognised(transcriber: WhisperTranscriber, said: Iterable[Heard]) -> list[Heard]:
    """Fill in the words as they would reach a model: what the guards withhold is left out."""
    found = []
    for each in said:
        clip = Clip("measure", 1, 0, each.samples, final=True)
        heard = guarded(transcriber.transcribe([clip])[0], clip)
        text = None if heard.distrust else heard.text or None
        found.append(msgspec.structs.replace(each, text=text, certainty=heard.confidence))
    return found


def streams_of(said: Sequence[Heard], *, cold: bool) -> list[list[Heard]]:
    """Put utterances into streams: one of each clip, or one of each speaker."""
    streams: dict[str, list[Heard]] = {}
    for each in said:
        streams.setdefault(each.clip if cold else each.speaker, []).append(each)
    return list(streams.values())


def verdicts(
    model: CompactModel, streams: Sequence[Sequence[Heard]], way: str
) -> list[tuple[str, str]]:
    """Return how each utterance was meant and read, each learnt after it was judged."""
    found = []
    for stream in streams:
        listener = model.new_speaker()
        for each in stream:
            (finding,) = model.extract([each.given(way)])
            found.append((each.meant, listener.predict(finding).category))
            listener.adapt(finding)
    return found


def alarms(found: Sequence[tuple[str, str]]) -> int:
    """Count readings that are sure of something but neutral."""
    return sum(read not in ("neutral", UNSURE) for _, read in found)


def whose(
    streams: Sequence[Sequence[Heard]], found: Sequence[tuple[str, str]]
) -> list[tuple[str, str, int, str]]:
    """Return of each alarm: speaker, clip, place in the stream from 1, and what was read."""
    places = [(each, place) for stream in streams for place, each in enumerate(stream, 1)]
    return [
        (each.speaker, each.clip, place, verdict[1])
        for (each, place), verdict in zip(places, found, strict=True)
        if alarms([verdict])
    ]


def main() -> None:
    """Measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--whisper", action="append", required=True, metavar="DIR")
    parser.add_argument("--model", type=Path, default=ASSETS / "models" / "compact")
    parser.add_argument("--noise", type=float, default=None, metavar="DB", help="below the voice")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None, help="else the tables are printed")
    given = parser.parse_args()
    model = load_compact(given.model, "compact")
    talk, scene = plain(given.data), conversation()
    where = "clean"
    if given.noise is not None:
        noise = sound_of("recorded noise", 60, given.seed, given.data)
        talk = under_noise(talk, noise, given.noise, given.seed)
        scene = under_noise(scene, noise, given.noise, given.seed)
        where = f"under recorded noise {given.noise:g} dB below (seed {given.seed})"
    clips = len({each.clip for each in talk})
    speakers = len({each.speaker for each in talk})
    lines = [
        "# Plain speech, and emotional words, as heard",
        "",
        f"`python -m tools.measure_plain`, model {given.model.name}, Whisper in int8, language en,"
        f" {platform.machine()}; {len(talk)} utterances of {clips} clips of {speakers} speakers,"
        f" and the {len(scene)} turns of the bundled conversation, {where}.",
        "",
        "| recogniser | given | plain, each clip a stream: sure and not neutral |"
        " each speaker a stream | emotional turns, each first: sure and right | sure and wrong |"
        " in order: sure and right | sure and wrong |",
        "|---|---|---|---|---|---|---|---|",
    ]
    who = ["", "| recogniser | speaker as a stream | clip | utterance | with words in full |"]
    who.append("|---|---|---|---|---|")
    for number, directory in enumerate(given.whisper):
        options = WhisperOptions(
            model=directory, language="en", compute_type="int8", threads=given.threads, offline=True
        )
        transcriber = WhisperTranscriber(options)
        talk, scene = recognised(transcriber, talk), recognised(transcriber, scene)
        for way in WAYS if number == 0 else WAYS[1:]:
            name = "–" if way == WAYS[0] else Path(directory).name
            lines.append(f"| {name} | {way} | {_row(model, talk, scene, way)} |")
        streams = streams_of(talk, cold=False)
        who += [
            f"| {Path(directory).name} | {' | '.join(map(str, row))} |"
            for row in whose(streams, verdicts(model, streams, WAYS[1]))
        ]
    text = "\n".join([*lines, *who]) + "\n"
    if given.out is None:
        print(text)
    else:
        given.out.write_text(text, encoding="utf-8")


def _row(model: CompactModel, talk: Sequence[Heard], scene: Sequence[Heard], way: str) -> str:
    cells = []
    for cold in (True, False):
        found = verdicts(model, streams_of(talk, cold=cold), way)
        cells.append(f"{alarms(found) / len(found):.3f} ({alarms(found)} of {len(found)})")
    for cold in (True, False):
        found = [
            each
            for each in verdicts(model, streams_of(scene, cold=cold), way)
            if each[0] != "neutral"
        ]
        right = sum(meant == read for meant, read in found)
        cells += [f"{right} of {len(found)}", str(alarms(found) - right)]
    return " | ".join(cells)


if __name__ == "__main__":
    main()
