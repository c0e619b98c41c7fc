"""Measure how many words are right where a recogniser is so sure of them.

    python -m tools.measure_certainty --whisper DIR [--whisper DIR]… --data DIR [--out FILE]

The clips of DIR/speech with a transcript, and the turns of the bundled conversation, go through
each recogniser, clean and under a recorded noise at 10, 5, 0 and -5 dB. What the guards withhold
is left out, as it is live. The rest is put into bins of the recogniser's own confidence
(``Transcript.confidence``, the geometric mean of its tokens' probabilities). Of each bin is told
which share of the words is right, how often the bundled model reads the same from the words alone
as from what was said (the likeliest category, and the mean overlap of all scores), and the weight
that it gives to such words. What was heard is kept in the file of ``--answers``: an interrupted
run goes on there.
"""

from __future__ import annotations

import argparse
import csv
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
import numpy as np
import soundfile

from streamser.audio.clip import Clip, Samples
from streamser.emotion.calibration import weight_of_words
from streamser.emotion.compact.model import CompactModel, load_compact
from streamser.emotion.model import Segment
from streamser.speech.transcriber import guarded
from streamser.speech.whisper import WhisperOptions, WhisperTranscriber
from tools.bench.measure import bare_words, word_errors
from tools.nobody import sound_of
from tools.talk import ASSETS, turns

__all__ = ["Answer", "bins", "main"]

Scores: TypeAlias = Mapping[str, float]

_NOISE_DB: Final = (None, 10, 5, 0, -5)
_EDGES: Final = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.01)


class Answer(msgspec.Struct, frozen=True):
    """Hold what was said and heard; ``confidence`` is ``None`` where there is no text."""

    model: str
    kind: str
    path: str
    said: str
    heard: str
    confidence: float | None


class _Case(msgspec.Struct, frozen=True, eq=False):
    kind: str
    path: str
    clip: Clip
    said: str


def cases(data: Path, seed: int) -> Iterator[_Case]:
    """Yield the clips with a transcript, clean and under noise, always in one order."""
    with (data / "speech" / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["text"].strip()]
    said = [(row["path"], row["text"]) for row in rows]
    sounds = [soundfile.read(data / "speech" / path, dtype="float32")[0] for path, _ in said]
    for number, turn in enumerate(turns(), 1):
        said.append((f"turn {number}", turn.text))
        sounds.append(turn.samples)
    noise = sound_of("recorded noise", 60, seed, data)
    rng = np.random.default_rng(seed)
    for (path, text), samples in zip(said, sounds, strict=True):
        begin = int(rng.integers(len(noise) - len(samples)))
        under = noise[begin : begin + len(samples)]
        ratio = float(np.std(samples) / max(1e-9, float(np.std(under))))
        for level in _NOISE_DB:
            heard = samples if level is None else samples + ratio * 10 ** (-level / 20) * under
            kind = "clean" if level is None else f"{level} dB"
            yield _Case(kind, path, _clip(heard), text)


def answers(
    options: WhisperOptions, all_cases: Sequence[_Case], known: Sequence[Answer]
) -> Iterator[Answer]:
    """Yield a recogniser's answers to the cases that it has not answered yet, in order."""
    waiting = all_cases[len(known) :]
    if not waiting:
        return
    transcriber = WhisperTranscriber(options)
    for case in waiting:
        heard = guarded(transcriber.transcribe([case.clip])[0], case.clip)
        text = "" if heard.distrust else heard.text
        yield Answer(
            model=transcriber.name,
            kind=case.kind,
            path=case.path,
            said=case.said,
            heard=text,
            confidence=heard.confidence if text else None,
        )


def words_scores(model: CompactModel, text: str) -> Scores:
    """Return what a model reads from words alone; those all in capitals in lower case."""
    words = text.lower() if text.isupper() else text
    (finding,) = model.extract([Segment(np.zeros(0, np.float32), words)])
    return model.new_speaker().predict(finding).scores


def bins(
    found: Sequence[Answer],
    read: Callable[[str], Scores],
    edges: Sequence[float] = _EDGES,
) -> list[str]:
    """Return a table's rows, a bin of confidence each; empty bins are left out.

    ``read`` returns the scores of words.
    """
    lines = []
    for low, high in pairwise(edges):
        inside = [
            (each, each.confidence)
            for each in found
            if each.confidence is not None and low <= each.confidence < high
        ]
        if not inside:
            continue
        truths = [bare_words(each.said) for each, _ in inside]
        words = sum(map(len, truths))
        wrong = sum(
            word_errors(truth, bare_words(each.heard))
            for truth, (each, _) in zip(truths, inside, strict=True)
        )
        right = max(0.0, 1.0 - wrong / words)
        pairs = [(read(each.said), read(each.heard)) for each, _ in inside]
        same = np.mean([_likeliest(one) == _likeliest(other) for one, other in pairs])
        overlap = np.mean([sum(min(one[k], other[k]) for k in one) for one, other in pairs])
        weight = np.mean([weight_of_words(confidence) for _, confidence in inside])
        mean = np.mean([confidence for _, confidence in inside])
        lines.append(
            f"| {low:.1f} to {min(1.0, high):.1f} | {len(inside)} | {words} |"
            f" {mean:.2f} | {right:.2f} | {same:.2f} | {overlap:.2f} | {weight:.2f} |"
        )
    return lines


def _likeliest(scores: Scores) -> str:
    return max(scores, key=scores.__getitem__)


def main() -> None:
    """Measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--whisper", action="append", required=True, metavar="DIR")
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--answers", type=Path, default=Path("certainty.jsonl"))
    parser.add_argument("--out", type=Path, default=None, help="else the tables are printed")
    given = parser.parse_args()
    all_cases = list(cases(given.data, given.seed))
    decoder = msgspec.json.Decoder(Answer)
    read = cache(partial(words_scores, load_compact(ASSETS / "models" / "compact", "compact")))
    lines = [
        "# How sure a recogniser is, and how many words are right",
        "",
        f"`python -m tools.measure_certainty`, seed {given.seed}, language en, int8,"
        f" {platform.machine()}; {len(all_cases) // len(_NOISE_DB)} clips, clean and under recorded"
        " noise at 10, 5, 0 and -5 dB.",
    ]
    everything: list[Answer] = []
    for model in given.whisper:
        name = Path(model).name
        path = given.answers.with_stem(f"{given.answers.stem}-{name}")
        known = [decoder.decode(line) for line in path.open("rb")] if path.exists() else []
        options = WhisperOptions(
            model=model, language="en", compute_type="int8", threads=given.threads, offline=True
        )
        with path.open("ab") as file:
            for answer in answers(options, all_cases, known):
                file.write(msgspec.json.encode(answer) + b"\n")
                file.flush()
                known.append(answer)
        if [(each.kind, each.path) for each in all_cases] != [(k.kind, k.path) for k in known]:
            raise SystemExit(f"{path} was made with other options: remove it")
        lines += _table(name, known, read)
        everything += known
    if len(given.whisper) > 1:
        lines += _table("all of them", everything, read)
    text = "\n".join(lines) + "\n"
    if given.out is None:
        print(text)
    else:
        given.out.write_text(text, encoding="utf-8")


def _table(name: str, found: Sequence[Answer], read: Callable[[str], Scores]) -> list[str]:
    withheld = sum(each.confidence is None for each in found)
    return [
        "",
        f"### {name}",
        "",
        f"{len(found)} readings, {withheld} of them withheld or empty.",
        "",
        "| confidence | readings | words | mean confidence | words right | same category |"
        " scores overlap | weight |",
        "|---|---|---|---|---|---|---|---|",
        *bins(found, read),
    ]


def _clip(samples: Samples) -> Clip:
    return Clip("measure", 1, 0, np.ascontiguousarray(samples, np.float32), final=True)


if __name__ == "__main__":
    main()
