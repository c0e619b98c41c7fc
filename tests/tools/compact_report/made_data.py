"""A folder of data in small, laid out as the real one: a synthesiser's voices, made-up texts."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import soundfile

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.emotion.frontend import log_mel
from streamser.training.corpora.acted import CREMAD_ARCHIVE
from tests.emotion.voices import speak

__all__ = ["make_data", "spoken"]

_HERTZ = {"neutral": 120.0, "happiness": 190.0, "sadness": 100.0, "anger": 220.0, "fear": 240.0}
_CREMAD = {"NEU": "neutral", "HAP": "happiness", "SAD": "sadness", "ANG": "anger", "FEA": "fear"}
_EMODB = {"N": "neutral", "F": "happiness", "T": "sadness", "W": "anger", "A": "fear"}
_RAVDESS = {"01": "neutral", "03": "happiness", "04": "sadness", "05": "anger", "06": "fear"}
_WORDS = {
    "neutral": ("the bus leaves at {0} from stop {1}", "neutral", "neutral"),
    "happy": ("what a lovely day number {0} with cake {1}", "joy", "joy"),
    "sad": ("i miss her so much since {0} and cry {1}", "sadness", "sadness"),
    "angry": ("you broke my window {0} times, get out {1}", "anger", "anger"),
}


def make_data(root: Path) -> Path:
    """Write all corpora, a few clips and texts each; return the folder."""
    _cremad(root / "cremad_mel")
    _emodb(root / "emodb")
    _ravdess(root / "ravdess_eval")
    _speech(root / "speech")
    noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
    for name in ("noise1", "rir1"):
        _sound(root / "noise_rir" / "audio" / f"{name}.flac", noise)
    _texts(root / "text")
    return root


@cache
def spoken(emotion: str, take: int, *, deep: bool = False) -> Samples:
    """Return a voice that tells an emotion by its pitch, a little different each take."""
    pitch = _HERTZ[emotion] * (1 + 0.03 * take) * (0.8 if deep else 1.0)
    return speak(pitch, tilt_db=-6.0 if emotion == "anger" else -12.0)


def _cremad(root: Path) -> None:
    rows: list[dict[str, object]] = []
    frames: list[np.ndarray[tuple[int, int], np.dtype[np.uint8]]] = []
    offset = 0
    for number, speaker in enumerate(("1007", "1017")):
        for place, (code, emotion) in enumerate(list(_CREMAD.items()) * 3):
            name = f"{speaker}_{('DFA', 'IEO', 'ITS')[place // len(_CREMAD)]}_{code}_XX"
            samples = spoken(emotion, place // len(_CREMAD), deep=bool(number))
            levels = log_mel(samples)
            levels = np.clip(levels - levels.max(), -80, 0)
            frames.append(np.round((levels + 80) / 80 * 255).astype(np.uint8))
            rows.append(
                {
                    **{"name": name, "speaker": speaker, "gender": ("male", "female")[number]},
                    **{"age": (25, 55)[number], "emotion": emotion, "text": "Don't forget."},
                    **{"n_frames": len(levels), "offset": offset, "split": "test"},
                    "voice_valence_proxy": -0.4 if emotion in ("anger", "sadness") else 0.3,
                    "voice_arousal_proxy": 0.5 if emotion in ("anger", "fear") else -0.1,
                    "voice_dominance_proxy": 0.01 * place,
                }
            )
            offset += len(levels)
            if place < 2:
                _sound(root / "griffinlim_samples" / f"{name}.flac", samples)
    # A band that is its neighbour's twin: of each pair's power, the level of before is left.
    wide = np.repeat(np.concatenate(frames), 2, axis=1)
    np.savez(
        root / CREMAD_ARCHIVE,
        mel_dt=np.diff(wide, axis=0, prepend=np.zeros((1, 128), np.uint8)),
        offset=np.array([row["offset"] for row in rows]),
        n_frames=np.array([row["n_frames"] for row in rows]),
    )
    _table(root / "labels.csv", rows)


def _emodb(root: Path) -> None:
    rows: list[dict[str, object]] = []
    for speaker in ("03", "08"):
        for place, (code, emotion) in enumerate(list(_EMODB.items()) * 3):
            name = f"{speaker}{('a01', 'a02', 'a04')[place // len(_EMODB)]}{code}a"
            _sound(
                root / "audio" / f"{name}.flac",
                spoken(emotion, place // len(_EMODB), deep=speaker == "03"),
            )
            rows.append(_labels(f"audio/{name}.flac", speaker, emotion))
    _table(root / "labels.csv", rows)


def _ravdess(root: Path) -> None:
    rows: list[dict[str, object]] = []
    for speaker in ("01", "02"):
        for place, (code, emotion) in enumerate(list(_RAVDESS.items()) * 3):
            take = ("01-01", "01-02", "02-01")[place // len(_RAVDESS)]
            name = f"03-01-{code}-01-{take}-{speaker}"
            _sound(
                root / "audio" / f"{name}.flac",
                spoken(emotion, place // len(_RAVDESS), deep=speaker == "01"),
            )
            rows.append(_labels(f"audio/{name}.flac", speaker, emotion) | {"age": ""})
    _table(root / "labels.csv", rows)


def _speech(root: Path) -> None:
    rows: list[dict[str, object]] = []
    # Of speakers 0 to 3 every second is held out, and judged.
    said = ("ten of clubs", "GO FORWARD TEN METERS", "")
    for place, (speaker, text) in enumerate(zip("0113", (said[2], *said), strict=True)):
        _sound(root / "audio" / f"{place}.flac", spoken("neutral", place))
        row = {"path": f"audio/{place}.flac", "speaker": speaker, "licence": "CC0", "text": text}
        rows.append(dict(row))
    rows.append({**rows[0], "speaker": "2"})
    _table(root / "labels.csv", rows)


def _texts(root: Path) -> None:
    for split, count in (("train", 12), ("dev", 4), ("test", 6)):
        rows: list[dict[str, object]] = [
            {"text": text.format(place, split), "labels": label, "id": f"{split}{place}{label}"}
            for place in range(count)
            for text, label, _ in _WORDS.values()
        ]
        _table(root / f"goemotions_{split}.csv", rows)
    lines: list[dict[str, object]] = [
        {"text": text.format(place, "line"), "labels": label}
        for place in range(20)
        for text, _, label in _WORDS.values()
    ]
    _table(root / "xed_en.csv", lines)
    ratings: list[dict[str, object]] = [
        {
            **{"id": f"{split}{place}{name}", "split": split, "V": 2 + value, "A": 3},
            **{"D": 3 - value / 2, "text": _WORDS[name][0].format(place, "sentence")},
        }
        for split in ("train", "dev", "test")
        for place in range(4)
        for value, name in enumerate(("angry", "neutral", "happy"))
    ]
    _table(root / "emobank.csv", ratings)


def _labels(path: str, speaker: str, emotion: str) -> dict[str, object]:
    gender = "male" if speaker in ("01", "03") else "female"
    return {"path": path, "speaker": speaker, "gender": gender, "age": 30, "emotion": emotion}


def _sound(path: Path, samples: Samples) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, SAMPLE_RATE)


def _table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    heads: Iterable[str] = rows[0]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(heads))
        writer.writeheader()
        writer.writerows(rows)
