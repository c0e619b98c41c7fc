"""Measure what the training-free model `rules` is worth, on recordings the repository lacks.

    python scripts/evaluate_rules.py --data DIR [--json FILE] [--check-f0] [--fit]

DIR has emodb/, ravdess_eval/ and text/ (labels.csv with path, speaker, gender, emotion, text;
audio 16 kHz mono). Every speaker's clips are played in a seeded random order as one stream.
EmoDB set the temperature and the growth of reliability, so its figures are those of the
calibration corpus; RAVDESS (CC BY-NC-SA) is test only, no number was set by it. Its report did
show one fault, since mended: plain words used to count as unpleasant ones.

Arousal is compared with an ordering of the *labels* (a proxy, not ratings): anger, happiness
and fear above neutral and calm, those above sadness and boredom; disgust and surprise are played
but not ranked. Categories are counted on neutral (with calm), happy, sad and angry clips, by the
likeliest category even where the model says "unsure". Cold is a stream's first four utterances,
warm from the eleventh on.

Expect, audio only, warm (cold): UAR .69 (.48) on EmoDB and .40 (.44) on RAVDESS (chance .25),
arousal's Spearman .81 (.75) and .60 (.44). These are floor numbers: happy is rarely told from
angry (recall .13 at most), since only words could, and most voices without words are "unsure". In a
stream angry throughout the baseline wears the anger away: mean arousal falls from .40 to .14
(.34 to .06). EmoBank valence: Pearson .48.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import soundfile

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.emotion import rules
from streamser.emotion.model import Prediction, Segment
from streamser.emotion.prosody import MAX_F0_HZ, MIN_F0_HZ, spearman, track_pitch
from streamser.emotion.rules import Lexicon, RulesFeatures, RulesModel
from streamser.taxonomy import CATEGORIES, UNSURE

__all__ = ["main"]

_CATEGORY = {
    "neutral": "neutral",
    "calm": "neutral",
    "happiness": "happy",
    "sadness": "sad",
    "anger": "angry",
}
_LEVEL = {"anger": 2, "happiness": 2, "fear": 2, "neutral": 1, "calm": 1, "sadness": 0}
_LEVEL["boredom"] = 0
_SEEDS = 5
_MIXED_LENGTH = 40  # utterances of a stream with chosen shares

Floats = npt.NDArray[np.float64]
Table = dict[str, float]


class Utterance(msgspec.Struct, frozen=True):
    """Hold one labelled clip, already measured."""

    speaker: str
    emotion: str
    finding: RulesFeatures


class Judged(msgspec.Struct, frozen=True):
    """Hold a reading, its label, and how many utterances its stream had before it."""

    heard: int
    emotion: str
    reading: Prediction


def rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV file with a header."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def sound(path: Path) -> Samples:
    """Read a 16 kHz mono recording."""
    samples, rate = soundfile.read(path, dtype="float32")
    if rate != SAMPLE_RATE:
        raise SystemExit(f"{path} has {rate} Hz, not {SAMPLE_RATE}")
    return np.asarray(samples, np.float32)


def load(folder: Path, *, with_text: bool = False) -> list[Utterance]:
    """Measure every clip of a corpus; texts are left out unless asked for."""
    model = RulesModel()
    corpus = []
    for row in rows(folder / "labels.csv"):
        spoken = Segment(sound(folder / row["path"]), row["text"] if with_text else None)
        corpus.append(Utterance(row["speaker"], row["emotion"], model.extract([spoken])[0]))
    return corpus


def as_recorded(corpus: Iterable[Utterance], seed: int) -> list[list[Utterance]]:
    """Return a stream for each speaker: all clips in random order."""
    rng = np.random.default_rng(seed)
    speakers: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in corpus:
        speakers[utterance.speaker].append(utterance)
    return [[clips[i] for i in rng.permutation(len(clips))] for clips in speakers.values()]


def mixed(
    corpus: Iterable[Utterance], shares: Mapping[str, float], seed: int
) -> list[list[Utterance]]:
    """Return a stream for each speaker: categories drawn by their shares, clips drawn again."""
    rng = np.random.default_rng(seed)
    pools: dict[str, dict[str, list[Utterance]]] = defaultdict(lambda: defaultdict(list))
    for utterance in corpus:
        if utterance.emotion in _CATEGORY:
            pools[utterance.speaker][_CATEGORY[utterance.emotion]].append(utterance)
    streams = []
    for pool in pools.values():
        names = [name for name in shares if pool[name]]
        chances = np.array([shares[name] for name in names])
        drawn = rng.choice(len(names), _MIXED_LENGTH, p=chances / chances.sum())
        clips = [pool[names[i]] for i in drawn]
        streams.append([choice[rng.integers(len(choice))] for choice in clips])
    return streams


def play(streams: Iterable[Sequence[Utterance]]) -> list[Judged]:
    """Let a fresh listener hear each stream: judge every utterance, then learn it."""
    judged = []
    model = RulesModel()
    for stream in streams:
        listener = model.new_speaker()
        for heard, utterance in enumerate(stream):
            judged.append(Judged(heard, utterance.emotion, listener.predict(utterance.finding)))
            listener.adapt(utterance.finding)
    return judged


def calibration_error(confidence: Floats, right: npt.NDArray[np.bool_]) -> float:
    """Return the expected calibration error over ten bins of equal width."""
    bins = np.minimum((confidence * 10).astype(int), 9)
    gaps = [
        float((bins == b).mean() * abs(right[bins == b].mean() - confidence[bins == b].mean()))
        for b in np.unique(bins)
    ]
    return sum(gaps)


def summarise(judged: Sequence[Judged]) -> Table:
    """Return the figures of a set of readings; those that are undefined are left out."""
    known = [one for one in judged if one.emotion in _CATEGORY]
    scores = np.array([[one.reading.scores[name] for name in CATEGORIES] for one in known])
    truth = np.array([CATEGORIES.index(_CATEGORY[one.emotion]) for one in known])
    guess = scores.argmax(axis=1)
    recall = {
        name: float((guess[truth == k] == k).mean())
        for k, name in enumerate(CATEGORIES)
        if (truth == k).any()
    }
    likelihood = scores[np.arange(len(truth)), truth]
    table = {
        "utterances": float(len(known)),
        "UAR": float(np.mean(list(recall.values()))),
        "WAR": float((guess == truth).mean()),
        **{f"recall {name}": value for name, value in recall.items()},
        "ECE": calibration_error(scores.max(axis=1), guess == truth),
        "log loss": float(-np.log(likelihood).mean()),
        "unsure": float(np.mean([one.reading.category == UNSURE for one in known])),
    }
    ranked = [
        (one.reading.dimensions.arousal, _LEVEL[one.emotion])
        for one in judged
        if one.emotion in _LEVEL and one.reading.dimensions.arousal is not None
    ]
    pairs = np.array(ranked, np.float64).reshape(-1, 2)
    if len(pairs):
        table["arousal mean"] = float(pairs[:, 0].mean())
    high = pairs[:, 1] == 2
    if high.any() and not high.all():
        table["arousal Spearman"] = spearman(pairs[:, 0], pairs[:, 1])
        above = pairs[:, 0] > 0
        table["arousal high/low"] = float((above[high].mean() + (~above[~high]).mean()) / 2)
    return table


def judge_corpus(corpus: Sequence[Utterance]) -> dict[str, Table]:
    """Play a corpus in three kinds of streams; return the figures of each, cold and warm."""
    third = 0.1
    neutral = {"neutral": 0.7, "happy": third, "sad": third, "angry": third}
    kinds = {
        "as recorded": [s for seed in range(_SEEDS) for s in as_recorded(corpus, seed)],
        "70 % neutral": [s for seed in range(_SEEDS) for s in mixed(corpus, neutral, seed)],
        "angry throughout": [
            s for seed in range(_SEEDS) for s in mixed(corpus, {"angry": 1.0}, seed)
        ],
    }
    tables = {}
    for kind, streams in kinds.items():
        judged = play(streams)
        tables[f"{kind}, cold"] = summarise([one for one in judged if one.heard < 4])
        tables[f"{kind}, warm"] = summarise([one for one in judged if one.heard >= 10])
    return tables


def judge_text(folder: Path) -> dict[str, Table]:
    """Correlate VADER with EmoBank's valence, and name GoEmotions' categories by words alone."""
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    lexicon, raw = Lexicon(), SentimentIntensityAnalyzer()
    test = [row for row in rows(folder / "emobank.csv") if row["split"] == "test"]
    rated = np.array([float(row["V"]) for row in test])
    words = [lexicon.read(row["text"]) for row in test]
    plain = np.array([word.valence if word else 0.0 for word in words])
    found = np.array([word is not None and word.lexicon_words > 0 for word in words])
    as_is = np.array([raw.polarity_scores(row["text"])["compound"] for row in test])
    bank = {
        "sentences": float(len(test)),
        "Pearson, as written": float(np.corrcoef(rated, as_is)[0, 1]),
        "Pearson, lower case, no punctuation (used)": float(np.corrcoef(rated, plain)[0, 1]),
        "Pearson, where the lexicon knows a word": float(
            np.corrcoef(rated[found], plain[found])[0, 1]
        ),
        "no lexicon word": float(1.0 - found.mean()),
    }
    names = {"neutral": "neutral", "joy": "happiness", "sadness": "sadness", "anger": "anger"}
    silence = np.zeros(0, np.float32)
    comments = [row for row in rows(folder / "goemotions_test.csv") if row["labels"] in names]
    findings = RulesModel().extract([Segment(silence, row["text"]) for row in comments])
    judged = play(
        [Utterance("", names[row["labels"]], finding)]
        for row, finding in zip(comments, findings, strict=True)
    )
    return {"EmoBank valence": bank, "GoEmotions categories": summarise(judged)}


def check_f0(data: Path) -> dict[str, Table]:
    """Compare pitch with Praat's autocorrelation method (package praat-parselmouth).

    Twenty clips a corpus, ten of either gender, clean and with noise; the reference is always
    Praat on the clean clip. A gross error is more than 20 % off, among frames both call voiced.
    """
    try:
        import parselmouth  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise SystemExit("--check-f0 needs Praat: pip install praat-parselmouth") from None

    def praat(samples: Samples, frames: int) -> Floats:
        pitch = parselmouth.Sound(samples.astype(float), SAMPLE_RATE).to_pitch_ac(
            time_step=0.01, pitch_floor=MIN_F0_HZ, pitch_ceiling=MAX_F0_HZ
        )
        centres = (160 * np.arange(frames) + 320) / SAMPLE_RATE
        found: Floats = np.array([pitch.get_value_at_time(t) for t in centres], np.float64)
        return np.asarray(np.nan_to_num(found), np.float64)

    rng = np.random.default_rng(0)
    tables = {}
    for corpus in ("emodb", "ravdess_eval"):
        labels = rows(data / corpus / "labels.csv")
        paths: list[str] = []
        for gender in ("male", "female"):
            of_gender = [row["path"] for row in labels if row["gender"] == gender]
            paths += [of_gender[i] for i in rng.choice(len(of_gender), 10, replace=False)]
        for noise_db in (None, 20, 10):
            gross = both = wrong = frames = 0
            off = []
            for path in paths:
                clean = sound(data / corpus / path)
                noise = rng.standard_normal(len(clean)) * np.sqrt(np.mean(clean**2))
                gain = 0.0 if noise_db is None else 10 ** (-noise_db / 20)
                ours = track_pitch((clean + gain * noise).astype(np.float32)).f0
                truth = praat(clean, len(ours))
                voiced = (ours > 0) & (truth > 0)
                gross += int((np.abs(ours[voiced] / truth[voiced] - 1) > 0.2).sum())
                both += int(voiced.sum())
                wrong += int(((ours > 0) != (truth > 0)).sum())
                frames += len(ours)
                ratio = np.median(ours[ours > 0]) / np.median(truth[truth > 0])
                off.append(abs(12 * np.log2(ratio)))
            name = f"{corpus}, {'clean' if noise_db is None else f'white noise at {noise_db} dB'}"
            tables[name] = {
                "clips": float(len(paths)),
                "gross error rate": gross / both,
                "voicing disagreement": wrong / frames,
                "median off, semitones, p50": float(np.median(off)),
                "median off, semitones, p90": float(np.percentile(off, 90)),
                "median off, semitones, max": float(np.max(off)),
            }
    return tables


def fit(corpus: Sequence[Utterance]) -> dict[str, Table]:
    """Return the figures at other temperatures of the voice; the model keeps its own."""
    chosen = rules.AROUSAL
    shares = {"neutral": 0.7, "happy": 0.1, "sad": 0.1, "angry": 0.1}
    streams = [s for seed in range(_SEEDS) for s in mixed(corpus, shares, seed)]
    tables = {}
    try:
        for temperature in (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0):
            tried = msgspec.structs.replace(
                chosen,
                rated=rules.rated_arousal(temperature),
                temperature=temperature,
            )
            rules.AROUSAL = tried  # type: ignore[misc]
            tables[f"temperature {temperature}"] = summarise(play(streams))
    finally:
        rules.AROUSAL = chosen  # type: ignore[misc]
    return tables


def show(title: str, tables: Mapping[str, Table]) -> None:
    """Print tables as one in Markdown, a row each."""
    columns = list(dict.fromkeys(name for table in tables.values() for name in table))
    print(f"\n### {title}\n\n| | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for name, table in tables.items():
        cells = [
            "–" if c not in table else f"{table[c]:.0f}" if table[c] > 3 else f"{table[c]:.3f}"
            for c in columns
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the evaluation; return the exit code."""
    parser = argparse.ArgumentParser(description="Evaluate the training-free model 'rules'.")
    parser.add_argument("--data", type=Path, required=True, help="folder with emodb/ and others")
    parser.add_argument("--json", type=Path, help="write all figures to this file too")
    parser.add_argument("--check-f0", action="store_true", help="compare pitch with Praat, only")
    parser.add_argument("--fit", action="store_true", help="try other temperatures, only")
    options = parser.parse_args(arguments)
    missing = [p for p in ("emodb", "ravdess_eval", "text") if not (options.data / p).is_dir()]
    if missing:
        print(f"{options.data} lacks {', '.join(missing)}", file=sys.stderr)
        return 2
    report: dict[str, dict[str, Table]] = {}
    if options.check_f0:
        report["F0 against Praat"] = check_f0(options.data)
    elif options.fit:
        report["Voice temperature, EmoDB 70 % neutral"] = fit(load(options.data / "emodb"))
    else:
        ravdess = options.data / "ravdess_eval"
        report["EmoDB (calibration), audio only"] = judge_corpus(load(options.data / "emodb"))
        report["RAVDESS (test), audio only"] = judge_corpus(load(ravdess))
        report["RAVDESS (test), audio and its neutral sentences"] = judge_corpus(
            load(ravdess, with_text=True)
        )
        report["Text only"] = judge_text(options.data / "text")
    for title, tables in report.items():
        show(title, tables)
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
