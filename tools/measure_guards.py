"""Measure the guards against invented text: noise that is believed, and speech that is not.

    python -m tools.measure_guards --whisper DIR [--whisper DIR]… --data DIR [--out FILE]

Ten minutes of each kind of sound in which nobody speaks (``tools.nobody``) go through the
detector and, where it lets them pass, through the recogniser; then, as turns by hand, chunks of
2 to 10 s of the same, without a detector. On the other side stand the clips of DIR/speech with a
transcript, clean and with a recorded noise at 10 dB. What was heard is kept in the file of
``--answers``: an interrupted run goes on there, and limits can be changed and judged at once.
"""

from __future__ import annotations

import argparse
import csv
import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import soundfile

from streamser.audio.clip import SAMPLE_RATE, Clip, Samples
from streamser.speech.transcriber import Transcript, guarded
from streamser.speech.whisper import WhisperOptions, WhisperTranscriber
from tools.bench.measure import bare_words, word_errors
from tools.nobody import RECORDED, SYNTHETIC, sound_of
from tools.talk import utterances

__all__ = ["main"]

_BATCH: Final = 4
_SNR_DB: Final = 10.0
_KINDS: Final = (*SYNTHETIC, *RECORDED)


class Case(msgspec.Struct, frozen=True, eq=False):
    """Hold a clip, where it comes from, and what is said in it (empty: nothing)."""

    part: str
    kind: str
    clip: Clip
    said: str = ""


class Answer(msgspec.Struct, frozen=True):
    """Hold what a model heard in a case, before any guard."""

    model: str
    part: str
    kind: str
    seconds: float
    heard: Transcript


def through_detector(kind: str, sound: Samples) -> Iterator[Case]:
    """Yield the utterances that the detector finds in a sound in which nobody speaks."""
    for samples in utterances(sound):
        yield Case("detector", kind, _clip(samples))


def by_hand(kind: str, sound: Samples, count: int, seed: int) -> Iterator[Case]:
    """Yield chunks of 2 to 10 s from anywhere in a sound."""
    rng = np.random.default_rng([seed, _KINDS.index(kind), count])
    for _ in range(count):
        length = int(rng.uniform(2, 10) * SAMPLE_RATE)
        begin = int(rng.integers(len(sound) - length))
        yield Case("by hand", kind, _clip(sound[begin : begin + length]))


def speech(data: Path, seed: int) -> Iterator[Case]:
    """Yield the clips with a transcript, clean and with a recorded noise at 10 dB."""
    with (data / "speech" / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["text"].strip()]
    noise = sound_of("recorded noise", 60, seed, data)
    rng = np.random.default_rng(seed)
    for row in rows:
        samples, _ = soundfile.read(data / "speech" / row["path"], dtype="float32")
        begin = int(rng.integers(len(noise) - len(samples)))
        under = noise[begin : begin + len(samples)]
        gain = float(np.std(samples) / max(1e-9, float(np.std(under)))) * 10 ** (-_SNR_DB / 20)
        noisy = np.asarray(samples + gain * under, np.float32)
        yield Case("speech", "clean", _clip(samples), row["text"])
        yield Case("speech", f"{_SNR_DB:.0f} dB", _clip(noisy), row["text"])


def cases(data: Path, minutes: float, chunks: int, seed: int) -> Iterator[Case]:
    """Yield everything that is measured, always in one order."""
    yield from speech(data, seed)
    for kind in _KINDS:
        sound = sound_of(kind, round(60 * minutes), seed, data)
        yield from through_detector(kind, sound)
        yield from by_hand(kind, sound, chunks, seed)


def listen(
    options: WhisperOptions, all_cases: Sequence[Case], known: Sequence[Answer]
) -> Iterator[Answer]:
    """Yield a model's answers to the cases that it has not answered yet, in order."""
    waiting = all_cases[len(known) :]
    if not waiting:
        return
    transcriber = WhisperTranscriber(options)
    for begin in range(0, len(waiting), _BATCH):
        batch = waiting[begin : begin + _BATCH]
        heard = transcriber.transcribe([case.clip for case in batch])
        for case, transcript in zip(batch, heard, strict=True):
            seconds = len(case.clip.samples) / SAMPLE_RATE
            yield Answer(transcriber.name, case.part, case.kind, seconds, transcript)


def report(model: str, all_cases: Sequence[Case], answers: Sequence[Answer]) -> list[str]:
    """Return the lines of a model's tables."""
    believed, total, became = Counter[str](), Counter[str](), Counter[str]()
    lost, cut, spoken, wrong, clips = (Counter[str]() for _ in range(5))
    for case, answer in zip(all_cases, answers, strict=True):
        judged = guarded(answer.heard, case.clip)
        kept = "" if judged.distrust else judged.text
        if case.said:
            truth = bare_words(case.said)
            clips[case.kind] += 1
            spoken[case.kind] += len(truth)
            lost[case.kind] += bool(judged.distrust)
            cut[case.kind] += not judged.distrust and kept != answer.heard.text
            wrong[case.kind] += word_errors(truth, bare_words(kept))
            continue
        row = f"{case.kind}/{case.part}"
        total[row] += 1
        believed[row] += bool(kept)
        became[judged.distrust or ("believed" if kept else "empty")] += 1
    lines = [
        f"### `{model}`",
        "",
        "| nobody speaks | utterances found in 10 min | believed | chunks by hand | believed |",
        "|---|---|---|---|---|",
    ]
    for kind in _KINDS:
        found, hand = f"{kind}/detector", f"{kind}/by hand"
        lines.append(
            f"| {kind} | {total[found]} | {believed[found]} | {total[hand]} | {believed[hand]} |"
        )
    sums = [
        sum(counter[f"{kind}/{part}"] for kind in _KINDS)
        for part in ("detector", "by hand")
        for counter in (total, believed)
    ]
    lines += ["| **all** | " + " | ".join(f"**{each}**" for each in sums) + " |", ""]
    lines += [
        "| speech | clips | distrusted | cut | word error rate of what is kept |",
        "|---|---|---|---|---|",
    ]
    for kind in clips:
        rate = wrong[kind] / spoken[kind]
        lines.append(f"| {kind} | {clips[kind]} | {lost[kind]} | {cut[kind]} | {rate:.3f} |")
    told = ", ".join(f"{reason} {count}" for reason, count in became.most_common())
    return [*lines, "", f"What became of the sounds without speech: {told}.", ""]


def main() -> None:
    """Measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--whisper", action="append", required=True, metavar="DIR")
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--minutes", type=float, default=10, help="of each kind of sound")
    parser.add_argument("--chunks", type=int, default=75, help="by hand, of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compute-type", default="int8", help="number format, of CTranslate2")
    parser.add_argument("--answers", type=Path, default=Path("guards.jsonl"))
    parser.add_argument("--out", type=Path, default=None, help="else the tables are printed")
    given = parser.parse_args()
    all_cases = list(cases(given.data, given.minutes, given.chunks, given.seed))
    decoder = msgspec.json.Decoder(Answer)
    lines = [
        "# Guards against invented text, measured",
        "",
        f"`python -m tools.measure_guards --whisper DIR --data DIR`, {given.minutes:g} minutes"
        f" of each kind, {given.chunks} chunks of 2 to 10 s by hand, seed {given.seed},"
        f" language en, {given.compute_type}, {platform.machine()}."
        " Levels of -50 to -16 dBFS RMS (silence: below). Speech: clips"
        " with a transcript, clean and under recorded noise at 10 dB.",
        "",
    ]
    for model in given.whisper:
        name = Path(model).name
        path = given.answers.with_stem(f"{given.answers.stem}-{name}")
        known = [decoder.decode(line) for line in path.open("rb")] if path.exists() else []
        with path.open("ab") as file:
            options = WhisperOptions(
                model=model,
                language="en",
                compute_type=given.compute_type,
                threads=given.threads,
                offline=True,
            )
            for answer in listen(options, all_cases, known):
                file.write(msgspec.json.encode(answer) + b"\n")
                file.flush()
                known.append(answer)
        for case, answer in zip(all_cases, known, strict=True):
            if (case.part, case.kind) != (answer.part, answer.kind):
                raise SystemExit(f"{path} was made with other options: remove it")
        lines += report(name, all_cases, known)
    text = "\n".join(lines).rstrip() + "\n"
    if given.out is None:
        print(text)
    else:
        given.out.write_text(text, encoding="utf-8")


def _clip(samples: Samples) -> Clip:
    return Clip("measure", 1, 0, np.ascontiguousarray(samples, np.float32), final=True)


if __name__ == "__main__":
    main()
