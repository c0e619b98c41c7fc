"""Endpointing on real sound: detector and segmenter together, against truth made by hand.

Two truths. *By hand*: two recordings of SpeechBrain with boundaries set by a person. *Built*:
18 single sentences of ten voices, trimmed by their own level, strung together with pauses of
0.8 to 2 s, clean and in noise. All bounds are what was measured (in the comment beside them)
plus a margin.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile

from streamser.audio.clip import SAMPLE_RATE, Samples, to_samples
from streamser.speech.segmenter import PRESETS, Closed, SegmentEvent, Segmenter, SegmenterSettings
from streamser.speech.silero import SileroModel, load_silero
from streamser.speech.vad import Vad
from streamser.speech.webrtc import WebRtcVad
from tests.data import shared_data

Span = tuple[int, int]

# Clips whose first and last sound differ by at most 60 ms whether 20 or 30 dB below their
# loudest part count as sound, and without a pause of 250 ms: others do not say themselves
# where their speech begins and ends.
CLIPS = (
    *("LJ001-0002", "sb_spk1_snt1", "libri_3575_00000", "sb_spk2_snt1", "cv_en_651325"),
    *("LJ001-0008", "sb_spk1_snt2", "unmute_Bear-or-shark-trim", "libri_6829_00000"),
    *("sb_spk2_snt4", "LJ001-0013", "sb_spk1_snt3", "unmute_seine", "LJ002-0020"),
    *("sb_spk1_snt4", "sb_spk2_snt6", "sb_spk1_snt5", "sb_spk1_snt6"),
)
NOISES = ("noise1", "noise2", "noise3", "noise4", "noise5", "office_ambience")
SPEECH_DB = -23.0
BARE = SegmenterSettings.from_ms(pre_roll_ms=0, tail_ms=0)


# --- Scoring ---------------------------------------------------------------------------------


class Score(msgspec.Struct, frozen=True):
    """Compare found utterances with true ones.

    Boundary errors in ms, positive where the found boundary is late, for true utterances that
    were found. ``miss`` is the share of true speech outside utterances, ``false_alarm`` the
    share of silence inside, ``missed`` true utterances without and ``extra`` found ones
    without a counterpart, ``split`` and ``merged`` surplus counterparts.
    """

    onsets: tuple[float, ...]
    offsets: tuple[float, ...]
    miss: float
    false_alarm: float
    missed: int
    extra: int
    split: int
    merged: int


def score(truth: Sequence[Span], found: Sequence[Span], total: int) -> Score:
    """Score utterances against the truth over ``total`` samples; spans are sorted, apart."""

    def partners(span: Span, spans: Sequence[Span]) -> list[Span]:
        return [other for other in spans if other[0] < span[1] and span[0] < other[1]]

    def mask(spans: Sequence[Span]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        marked = np.zeros(total, bool)
        for start, end in spans:
            marked[start:end] = True
        return marked

    per_truth = [(span, partners(span, found)) for span in truth]
    per_found = [partners(span, truth) for span in found]
    spoken, heard = mask(truth), mask(found)
    ms = 1000 / SAMPLE_RATE
    return Score(
        onsets=tuple((hits[0][0] - span[0]) * ms for span, hits in per_truth if hits),
        offsets=tuple((hits[-1][1] - span[1]) * ms for span, hits in per_truth if hits),
        miss=float((spoken & ~heard).sum() / max(1, spoken.sum())),
        false_alarm=float((heard & ~spoken).sum() / max(1, (~spoken).sum())),
        missed=sum(not hits for _, hits in per_truth),
        extra=sum(not hits for hits in per_found),
        split=sum(max(0, len(hits) - 1) for _, hits in per_truth),
        merged=sum(max(0, len(hits) - 1) for hits in per_found),
    )


def median(errors: Sequence[float]) -> float:
    """Return the median of signed errors: the detector's lag."""
    return float(np.median(errors))


def p90(errors: Sequence[float]) -> float:
    """Return the size that nine errors of ten do not exceed."""
    return float(np.percentile(np.abs(errors), 90))


def counts(result: Score) -> tuple[int, int, int, int]:
    """Return missed, extra, split and merged utterances."""
    return result.missed, result.extra, result.split, result.merged


# --- Sound and the front end -----------------------------------------------------------------


def read(folder: str, name: str) -> Samples:
    """Read a recording of the shared data."""
    sound, rate = soundfile.read(shared_data(f"{folder}/audio/{name}.flac"), dtype="float32")
    assert rate == SAMPLE_RATE
    return np.asarray(sound, np.float32)


def level(sound: Samples) -> float:
    """Return the mean power in dB."""
    return float(10 * np.log10(np.mean(np.square(sound, dtype=np.float64)) + 1e-12))


def trim(sound: Samples, below_db: float = 25) -> Samples:
    """Cut away what lies before and after the parts near the clip's loudest (10 ms steps)."""
    step = to_samples(10)
    frames = sound[: len(sound) // step * step].reshape(-1, step)
    levels = np.array([level(frame) for frame in frames])
    loud = np.flatnonzero(levels > np.percentile(levels, 95) - below_db)
    return sound[loud[0] * step : (loud[-1] + 1) * step]


def with_noise(sound: Samples, noise: Samples, snr_db: float) -> Samples:
    """Add noise, repeated as needed, ``snr_db`` below the level of the speech."""
    bed = np.resize(noise, len(sound))
    gain = 10 ** ((SPEECH_DB - snr_db - level(bed)) / 20)
    return (sound + np.float32(gain) * bed).astype(np.float32)


@functools.cache
def conversation() -> tuple[Samples, tuple[Span, ...]]:
    """String the clips together at one level; return the sound and where its sentences are."""
    rng = np.random.default_rng(3)
    parts, truth, position = [np.zeros(SAMPLE_RATE, np.float32)], [], SAMPLE_RATE
    for name in CLIPS:
        clip = trim(read("speech", name))
        gain = np.float32(10 ** ((SPEECH_DB - level(clip)) / 20))
        pause = to_samples(rng.uniform(800, 2000))
        parts += [gain * clip, np.zeros(pause, np.float32)]
        truth.append((position, position + len(clip)))
        position += len(clip) + pause
    # A studio's floor at -75 dB: digital silence would be easier than any microphone.
    floor = 10 ** (-75 / 20) * rng.standard_normal(position)
    return (np.concatenate(parts) + floor).astype(np.float32), tuple(truth)


def listen(vad: Vad, sound: Samples) -> list[float]:
    """Return the probability of each whole window."""
    vad.reset()
    size = vad.window
    return [vad.probability(window) for window in sound[: len(sound) // size * size].reshape(-1, size)]


def segment(probabilities: Sequence[float], window: int, settings: SegmenterSettings) -> list[Span]:
    """Return the utterances that the segmenter makes of probabilities."""
    segmenter = Segmenter(settings, window)
    events: list[SegmentEvent] = []
    for probability in probabilities:
        events += segmenter.push(probability)
    events += segmenter.flush()
    return [(event.start, event.end) for event in events if isinstance(event, Closed)]


def judge(vad: Vad, sound: Samples, settings: SegmenterSettings = BARE) -> Score:
    """Score a detector on the conversation, or on that conversation in noise."""
    _, truth = conversation()
    return score(truth, segment(listen(vad, sound), vad.window, settings), len(sound))


def pool(scores: Sequence[Score]) -> Score:
    """Return one score for several recordings of equal length."""
    return Score(
        onsets=tuple(error for one in scores for error in one.onsets),
        offsets=tuple(error for one in scores for error in one.offsets),
        miss=float(np.mean([one.miss for one in scores])),
        false_alarm=float(np.mean([one.false_alarm for one in scores])),
        missed=sum(one.missed for one in scores),
        extra=sum(one.extra for one in scores),
        split=sum(one.split for one in scores),
        merged=sum(one.merged for one in scores),
    )


def merge(spans: Sequence[Span], below: int) -> list[Span]:
    """Join spans with less than ``below`` samples between them."""
    joined: list[Span] = []
    for start, end in spans:
        if joined and start - joined[-1][1] < below:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def by_hand(part: str) -> tuple[Samples, list[Span]]:
    """Return the labelled part of a SpeechBrain recording and its speech.

    The labels come in examples of 2 s, each a span of the file; what lies behind the last has
    no labels. Speech that goes over a border of examples is one.
    """
    labels = json.loads(Path(shared_data("speech/speechbrain_vad_boundaries.json")).read_text())
    spans: list[Span] = []
    for example in labels[part].values():
        times = [float(time) * SAMPLE_RATE for time in example["speech"].split()]
        offset = example["wav"]["start"]
        spans += [
            (offset + round(start), offset + round(end))
            for start, end in zip(times[::2], times[1::2], strict=True)
        ]
    labelled = max(example["wav"]["stop"] for example in labels[part].values())
    name = {"train": "sb_vad_train", "dev": "sb_vad_valid"}[part]
    return read("speech", name)[:labelled], merge(spans, 1)


@pytest.fixture(scope="module")
def silero() -> SileroModel:
    """Load the weights once."""
    return load_silero()


# --- Scoring is right ------------------------------------------------------------------------


def test_a_perfect_answer_scores_zero_errors() -> None:
    """The truth scored against itself has no error of any kind."""
    truth = [(160, 320), (480, 800)]
    assert score(truth, truth, 1_600) == Score((0, 0), (0, 0), 0, 0, 0, 0, 0, 0)


def test_every_kind_of_error_is_counted() -> None:
    """A late start, an early end, a split, a merger, a miss and an invention all show."""
    truth = [(1600, 3200), (4800, 6400), (8000, 9600), (11200, 12800)]
    found = [(1760, 2000), (2400, 5000), (5200, 6240), (14400, 16000)]
    result = score(truth, found, 16_000)
    assert result.onsets == (10, -150)
    assert result.offsets == (112.5, -10)
    assert counts(result) == (2, 1, 2, 1)
    assert result.miss == pytest.approx((160 + 400 + 200 + 160 + 1600 + 1600) / 6400)
    assert result.false_alarm == pytest.approx((1600 + 1600) / 9600)


# --- Truth by hand ---------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("part", ["train", "dev"])
def test_silero_finds_the_utterances_marked_by_hand(
    silero: SileroModel, part: str, preset: str
) -> None:
    """Each preset finds the utterances a person marked, their borders within 80 ms.

    Pauses up to the hangover and two windows count as inside an utterance: the shortest pause
    beyond a hangover (520 ms) is heard as 480.
    """
    sound, spans = by_hand(part)
    vad = silero.stream()
    settings = msgspec.structs.replace(SegmenterSettings.preset(preset), pre_roll=0, tail=0)
    truth = merge(spans, settings.silence + 2 * vad.window)
    result = score(truth, segment(listen(vad, sound), vad.window, settings), len(sound))
    assert counts(result) == (0, 0, 0, 0)
    assert max(np.abs(result.onsets)) <= 80  # measured 56
    assert max(np.abs(result.offsets)) <= 80  # measured 58
    assert result.miss <= 0.06
    assert result.false_alarm <= 0.08


def test_webrtc_finds_the_utterances_marked_by_hand() -> None:
    """WebRTC finds the same utterances in clean sound, and ends them late."""
    for part in ("train", "dev"):
        sound, spans = by_hand(part)
        vad = WebRtcVad()
        truth = merge(spans, BARE.silence + 200 * 16)
        result = score(truth, segment(listen(vad, sound), vad.window, BARE), len(sound))
        print(part, result, truth)


# --- Built truth -----------------------------------------------------------------------------


def test_numbers(silero: SileroModel) -> None:
    def show(label: str, r: Score) -> None:
        print(
            f"{label:18s} on {median(r.onsets):6.0f} {p90(r.onsets):6.0f} off {median(r.offsets):6.0f} "
            f"{p90(r.offsets):6.0f} miss {r.miss:.4f} fa {r.false_alarm:.4f} {counts(r)}"
        )

    sound, truth = conversation()
    white = np.random.default_rng(5).standard_normal(len(sound)).astype(np.float32)
    for vad in (silero.stream(), WebRtcVad(), WebRtcVad(3)):
        show(f"{vad.name} clean", judge(vad, sound))
        show(f"{vad.name} clean padded", judge(vad, sound, SegmenterSettings()))
        for snr in (20, 10, 5):
            noisy = [with_noise(sound, read("noise_rir", name), snr) for name in NOISES]
            show(f"{vad.name} pooled {snr}", pool([judge(vad, one) for one in noisy]))
            show(
                f"{vad.name} padded {snr}",
                pool([judge(vad, one, SegmenterSettings()) for one in noisy]),
            )
            show(f"{vad.name} white {snr}", judge(vad, with_noise(sound, white, snr)))
    for part in ("train", "dev"):
        for preset in PRESETS:
            s, spans = by_hand(part)
            v = silero.stream()
            st = msgspec.structs.replace(SegmenterSettings.preset(preset), pre_roll=0, tail=0)
            t = merge(spans, st.silence + 2 * v.window)
            print(part, preset, score(t, segment(listen(v, s), v.window, st), len(s)))
