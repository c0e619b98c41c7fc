"""Measure how near the speech rate that is told is to the syllables that were spoken.

    python -m tools.measure_tempo --data DIR [--seed N]

Where a corpus has fixed sentences (EmoDB: its whole clips; RAVDESS) their syllables are counted by
hand, as a dictionary says them: fast speech swallows some. Of the clips of plain English speech
with a transcript they are counted by a rule, vowels that stand together being one. The true rate is
that count over the time in which the detector of speech hears some in the clean clip, from first to
last. What is measured is what an utterance has live, that time and a little before and behind it,
clean and under a recorded noise at 20, 10 and 5 dB.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import soundfile

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.emotion.tempo import measure_tempo
from streamser.speech.vad import SileroModel, load_silero
from tools.nobody import sound_of

__all__ = ["Spoken", "main", "read", "spoken_part", "syllables_of", "table"]

_NOISE_DB: Final = (None, 20, 10, 5)
_FASTEST: Final = 10.0
"""Syllables a second: who seems to speak faster was not heard from the first word to the last."""
_BEFORE: Final = round(0.2 * SAMPLE_RATE)
_BEHIND: Final = round(0.16 * SAMPLE_RATE)
_SENTENCES: Final = {
    "Der Lappen liegt auf dem Eisschrank.": 8,
    "Das will sie am Mittwoch abgeben.": 9,
    "Heute abend könnte ich es ihm sagen.": 11,
    "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.": 18,
    "In sieben Stunden wird es soweit sein.": 10,
    "Was sind denn das für Tüten, die da unter dem Tisch stehen?": 15,
    "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.": 20,
    "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.": 24,
    "Ich will das eben wegbringen und dann mit Karl was trinken gehen.": 17,
    "Die wird auf dem Platz sein, wo wir sie immer hinlegen.": 14,
    "Kids are talking by the door.": 7,
    "Dogs are sitting by the door.": 7,
}


class Spoken(NamedTuple):
    """Hold a clip, and how many syllables were said in it."""

    samples: Samples
    syllables: int


def syllables_of(text: str) -> int:
    """Count the syllables of English words, roughly: a final ``e`` is silent but for ``le``."""
    return sum(map(_syllables, re.findall(r"[a-z']+", text.lower())))


def _syllables(word: str) -> int:
    sounded = word if re.search(r"[^aeiouy]le$", word) else re.sub(r"(?<=.)e$", "", word)
    return max(1, len(re.findall(r"[aeiouy]+", sounded)))


def read(data: Path, corpus: str) -> Iterator[Spoken]:
    """Read the clips of a corpus of which the syllables are known, always in one order."""
    with (data / corpus / "labels.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["text"].strip() and not row.get("source", "").startswith("cropped"):
                text = row["text"].strip()
                count = syllables_of(text) if corpus == "speech" else _SENTENCES[text]
                samples = soundfile.read(data / corpus / row["path"], dtype="float32")[0]
                yield Spoken(samples, count)


def spoken_part(samples: Samples, silero: SileroModel) -> slice:
    """Return the samples from the first window with speech to the last; all where none has any."""
    vad = silero.stream()
    size = len(samples) // vad.window * vad.window
    heard = np.flatnonzero(
        np.array(vad.probabilities(samples[:size].reshape(-1, vad.window))) > 0.5
    )
    if not len(heard):
        return slice(0, len(samples))
    return slice(int(heard[0]) * vad.window, (int(heard[-1]) + 1) * vad.window)


def under_noise(said: list[Spoken], noise: Samples, level: float | None, seed: int) -> list[Spoken]:
    """Lay a noise under clips, ``level`` dB below each of them, begun anywhere."""
    rng = np.random.default_rng(seed)
    found = []
    for each in said:
        begin = int(rng.integers(len(noise) - len(each.samples)))
        under = noise[begin : begin + len(each.samples)]
        gain = float(np.std(each.samples)) / max(1e-9, float(np.std(under)))
        loud = 0.0 if level is None else gain * 10 ** (-level / 20)
        found.append(Spoken(np.asarray(each.samples + loud * under, np.float32), each.syllables))
    return found


def table(name: str, said: list[Spoken], noise: Samples, seed: int) -> list[str]:
    """Return a row for the clean clips and one for each level of noise."""
    silero = load_silero()
    clean, rates_said = [], []
    for each in said:
        part = spoken_part(each.samples, silero)
        rate = each.syllables / (part.stop - part.start) * SAMPLE_RATE
        if rate <= _FASTEST:
            cut = each.samples[max(0, part.start - _BEFORE) : part.stop + _BEHIND]
            clean.append(Spoken(cut, each.syllables))
            rates_said.append(rate)
    true = np.array(rates_said)
    lines = []
    for level in _NOISE_DB:
        tempos = [measure_tempo(each.samples) for each in under_noise(clean, noise, level, seed)]
        rates = np.array([np.nan if tempo is None else tempo.speech_rate for tempo in tempos])
        known = np.isfinite(rates)
        error = rates[known] / true[known] - 1.0
        likeness = np.corrcoef(rates[known], true[known])[0, 1]
        lines.append(
            f"| {name} | {'clean' if level is None else f'{level} dB'} | {np.sum(known)}"
            f" | {np.mean(true[known]):.1f} | {np.mean(rates[known]):.1f}"
            f" | {100 * np.mean(error):+.0f} % | {100 * np.mean(np.abs(error)):.0f} %"
            f" | {likeness:.2f} |"
        )
    return lines


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    noise = sound_of("recorded noise", 60, given.seed, given.data)
    print("| clips | noise | number | true rate | told | off by | error | correlation |")
    print("|---|---|---|---|---|---|---|---|")
    for corpus, name in (
        ("emodb", "EmoDB, German"),
        ("ravdess_eval", "RAVDESS, English"),
        ("speech", "plain speech, English"),
    ):
        print("\n".join(table(name, list(read(given.data, corpus)), noise, given.seed)))


if __name__ == "__main__":
    main()
