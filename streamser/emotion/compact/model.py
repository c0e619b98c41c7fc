"""The model that comes with the program: its folder, and how it works.

``extract`` measures the voice and encodes the words: heavy, batched, knowing nobody. What a
stream's past makes of them is its speaker model's: it sets the measurements against what is usual
for this stream, and lets the small network judge (bridge-token fusion and heads, about 1 ms).

In the folder ``config.json`` says what the parts are, what they hash to and which corpora taught
them, ``norm.npz`` what is usual and along which directions emotions differ, ``layers.onnx``,
``judge.onnx`` and ``words.onnx`` hold the weights, ``tokenizer.json`` the word pieces,
``calibration.json`` turns logits into probabilities, ``README.md`` is the model card.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from streamser.emotion.calibration import (
    Calibration,
    calibration_of,
    entropy,
    map_dimensions,
    modality_set,
    probabilities,
    read_calibrations,
    weight_of_words,
)
from streamser.emotion.compact.encoders import (
    GRAPH,
    TOKENIZER,
    VALUES,
    WORDS,
    LayerEncoder,
    Words,
    load_layers,
    load_words,
)
from streamser.emotion.compact.frames import FrameCache, cleaned, voice_frames
from streamser.emotion.compact.speaker_stats import (
    DIRECTIONS,
    GROUPS,
    WIDTH,
    Norm,
    Reference,
    SpeakerStats,
    placed,
    read_stats,
)
from streamser.emotion.compact.statistics import Measured, measure
from streamser.emotion.frontend import Sound
from streamser.emotion.model import Prediction, Segment
from streamser.errors import ModelError
from streamser.graphs import CONFIG, check_part, fingerprint, open_graph
from streamser.taxonomy import CATEGORIES, DIMENSIONS, UNSURE, Dimensions

FORMAT: Final = "streamser.compact"
VERSION: Final = 4
JUDGE: Final = "judge.onnx"
NORM: Final = "norm.npz"
ALONG: Final = "directions"
"""What of ``norm.npz`` is no norm."""
CALIBRATION: Final = "calibration.json"
_MOST_NORM: Final = 1 << 20
PARTS: Final = (GRAPH, JUDGE, WORDS, TOKENIZER, NORM, CALIBRATION)

JUDGE_INPUTS: Final = (
    *("relative", "absolute", "context", "variety", "known"),
    *("words", "has_audio", "has_text"),
)

Vectors = npt.NDArray[np.float32]
_Answer: TypeAlias = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Probabilities [4] and dimensions [3] in [-1, 1]."""

NEUTRAL_AT_FIRST = 1.0  # logits, for a voice of which nothing is known
CAUTION_AT_FIRST = 0.9  # of the way from the usual threshold to certainty, likewise
_TINY = 1e-12  # of probability, whose logarithm is still a number
LEAST_SPEECH_SECONDS = 0.2  # less is a click, not a voice


class Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Say what a folder holds: the format, the heads in order, and each part's SHA-256.

    ``taught`` are the corpora that it was taught or calibrated on, by their names in manifests,
    each with the speakers or splits that were kept out; empty where nobody says.
    """

    format: str
    version: int
    categories: tuple[str, ...]
    dimensions: tuple[str, ...]
    parts: dict[str, str]
    taught: dict[str, tuple[str, ...]] = {}


class _BundleHeading(msgspec.Struct):
    format: str = ""
    version: int = 0


class Bundle(msgspec.Struct, frozen=True, eq=False):
    """Hold the parts of a bundled model, ready to run.

    Pickled, it is its place; what comes out of that in another process is all but ``layers``
    and ``words``, which only those who observe need.
    """

    directory: Path
    judge: Any
    layers: LayerEncoder | None
    words: Words | None
    norm: Norm
    directions: npt.NDArray[np.float32]
    calibrations: dict[str, Calibration]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the place."""
        return _for_speakers, (self.directory,)


def is_bundle(directory: Path) -> bool:
    """Tell whether a folder says of itself that it is a bundled model."""
    try:
        text = (directory / CONFIG).read_bytes()
        return msgspec.json.decode(text, type=_BundleHeading).format == FORMAT
    except (OSError, ValueError, RecursionError):
        return False


def describe(directory: Path, taught: Mapping[str, tuple[str, ...]] | None = None) -> Description:
    """Describe the parts that lie in a folder, hashes included, and what taught them."""
    return Description(
        format=FORMAT,
        version=VERSION,
        categories=CATEGORIES,
        dimensions=DIMENSIONS,
        parts={name: fingerprint(directory / name) for name in PARTS},
        taught=dict(taught or {}),
    )


def load_bundle(directory: Path) -> Bundle:
    """Load a bundled model for one CPU thread.

    Raises ``ModelError`` where a part is missing, damaged, of another version or not the one
    that the description names: never a model that was put together by accident.
    """
    _check(directory)
    return _open(directory, load_layers(directory), load_words(directory))


@cache
def _for_speakers(directory: Path) -> Bundle:
    _check(directory)
    return _open(directory, None, None)


def _check(directory: Path) -> None:
    found = read_description(directory)
    for name in PARTS:
        check_part(directory, name, found.parts)


def _open(directory: Path, layers: LayerEncoder | None, words: Words | None) -> Bundle:
    norm, directions = _read_norm(directory / NORM)
    return Bundle(
        directory=directory,
        judge=open_graph(directory / JUDGE, inputs=JUDGE_INPUTS),
        layers=layers,
        words=words,
        norm=norm,
        directions=directions,
        calibrations=read_calibrations(directory / CALIBRATION),
    )


def read_description(directory: Path) -> Description:
    """Read what a folder says of itself; raises ``ModelError`` where that is no bundled model."""
    path = directory / CONFIG
    try:
        text = path.read_bytes()
        heading = msgspec.json.decode(text, type=_BundleHeading)
        if (heading.format, heading.version) != (FORMAT, VERSION):
            raise ModelError(
                f"{path} is of {heading.format} {heading.version}, and this streamser reads"
                f" {FORMAT} {VERSION}: run pip install --upgrade streamser"
            )
        found = msgspec.json.decode(text, type=Description)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{path} does not describe a model: {error}") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None
    if (found.categories, found.dimensions) != (CATEGORIES, DIMENSIONS):
        raise ModelError(f"{path} has other categories or dimensions than this streamser")
    return found


def _read_norm(path: Path) -> tuple[Norm, npt.NDArray[np.float32]]:
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > _MOST_NORM:
                raise ModelError(f"{path} holds far more than {WIDTH} numbers of each kind")
        with np.load(path, allow_pickle=False) as arrays:
            parts = [arrays[name].astype(np.float64) for name in Norm.__struct_fields__]
            directions = arrays[ALONG].astype(np.float32)
    # Of damage numpy and zipfile raise nearly anything: TokenError, MemoryError, struct.error.
    except Exception as error:
        raise ModelError(f"{path} cannot be used: {error}") from None
    if any(part.shape != (WIDTH,) or not np.isfinite(part).all() for part in parts):
        raise ModelError(f"{path} does not hold {WIDTH} finite numbers of each kind")
    if directions.shape != (DIRECTIONS, VALUES) or not np.isfinite(directions).all():
        raise ModelError(f"{path} does not hold {DIRECTIONS} directions of {VALUES} finite numbers")
    return Norm(*parts), directions


class CompactFeatures(msgspec.Struct, frozen=True, eq=False):
    """Hold what was measured of a clip; ``words`` [L, width] is ``None`` where there are none.

    ``weight``, in (0, 1], is how much these words count.
    """

    measured: Measured
    words: Vectors | None
    weight: float = 1.0


class Judgement(msgspec.Struct, frozen=True, eq=False):
    """Hold the answer before calibration: logits [4], dimensions [3] in (0, 1), what it rests on.

    The logits hold the lead that neutral has in a stream of which little is known.
    """

    logits: npt.NDArray[np.float64]
    dimensions: npt.NDArray[np.float64]
    modalities: tuple[str, ...]


class CompactModel:
    """Measure voices and encode words; see the module. Needs neither torch nor a GPU."""

    modalities: tuple[str, ...] = ("audio", "text")

    def __init__(self, bundle: Bundle, name: str) -> None:
        assert bundle.words is not None, "a bundle for speaker models alone"
        assert bundle.layers is not None, "a bundle for speaker models alone"
        self.name = name
        self._bundle = bundle
        self._words = bundle.words
        self._cache = FrameCache()
        self._layers = bundle.layers

    def extract(self, batch: Sequence[Segment]) -> list[CompactFeatures]:
        """Measure clips, float32 [n] at 16 kHz, n >= 0, and encode their words where there are any.

        NaN and infinite samples count as silence. Of clips with a place, frames are kept.
        """
        measured = [
            _joined(
                measure(*self._cache.frames(spoken.samples, spoken.place)),
                self._layers.encode(cleaned(spoken.samples), spoken.place),
            )
            for spoken in batch
        ]
        weights = [weight_of_words(spoken.certainty) for spoken in batch]
        # Words of no weight are as good as none.
        given = [each.text if weight else None for each, weight in zip(batch, weights, strict=True)]
        return [
            replace(found, weight=weight) if found.words is not None else found
            for found, weight in zip(self._find(measured, given), weights, strict=True)
        ]

    def examine(self, batch: Sequence[tuple[Sound | None, str | None]]) -> list[CompactFeatures]:
        """Do what ``extract`` does, also for sound that is there as log-mel frames alone."""
        measured = [measured_sound(sound, self._layers) for sound, _ in batch]
        return self._find(measured, [text for _, text in batch])

    def forget(self, session_id: str) -> None:
        """Drop the frames that are kept of a session."""
        self._cache.forget(session_id)
        self._layers.forget(session_id)

    def new_speaker(self) -> CompactSpeaker:
        """Return a speaker model that has heard nobody yet."""
        return CompactSpeaker(self._bundle)

    def _find(
        self, measured: Sequence[Measured], given: Sequence[str | None]
    ) -> list[CompactFeatures]:
        texts = [text if text is not None and text.strip() else None for text in given]
        encoded = iter(self._words.encode([text for text in texts if text is not None]))
        return [
            CompactFeatures(
                each._replace(values=placed(each.values, self._bundle.directions)),
                None if text is None else next(encoded),
            )
            for each, text in zip(measured, texts, strict=True)
        ]


class CompactSpeaker:
    """Judge a session's features against what its speaker usually sounds like."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._know(SpeakerStats())

    def judge(self, features: CompactFeatures) -> Judgement:
        """Let the network judge features in the light of what was learnt so far."""
        measured = features.measured
        audible = measured.speech_seconds >= LEAST_SPEECH_SECONDS
        views = self._reference().views(measured.values)
        words = features.words
        logits, dimensions = self._bundle.judge.run(
            ["logits", "dimensions"],
            {
                **{name: view[None] for name, view in views._asdict().items()},
                "known": np.array([[self._usual.known]], np.float32),
                "words": np.zeros((1, 1, 384), np.float32) if words is None else words[None],
                "has_audio": np.array([audible]),
                "has_text": np.array([words is not None]),
            },
        )
        logits = logits[0].astype(np.float64)
        if audible:
            # Streams are mostly neutral; of a stream of which little is known that says much.
            logits[CATEGORIES.index("neutral")] += NEUTRAL_AT_FIRST * (1.0 - self._usual.known)
        given = (("audio", audible), ("text", words is not None))
        return Judgement(
            logits=logits,
            dimensions=dimensions[0].astype(np.float64),
            modalities=tuple(name for name, there in given if there),
        )

    def predict(self, features: CompactFeatures) -> Prediction:
        """Judge features; each dimension in [-1, 1], ``None`` where nothing was heard or said."""
        judged = self.judge(features)
        modalities = judged.modalities
        if not modalities:
            scores = dict.fromkeys(CATEGORIES, 1.0 / len(CATEGORIES))
            return Prediction(UNSURE, 1.0 / len(CATEGORIES), scores, Dimensions(), 1.0, ())
        likely, mapped = self._answer(judged)
        if features.words is not None and features.weight < 1.0:
            alone = self._answer(self.judge(replace(features, words=None)))
            likely, mapped = _mixed((likely, mapped), alone, features.weight)
        scores = dict(zip(CATEGORIES, likely.tolist(), strict=True))
        likeliest = max(scores, key=scores.__getitem__)
        least = self._least(likeliest, modalities, features)
        evidence = self._evidence(features.measured, judged, least)
        if "text" in modalities:
            evidence["words_weight"] = round(features.weight, 3)
        return Prediction(
            category=UNSURE if scores[likeliest] < least else likeliest,
            confidence=scores[likeliest],
            scores=scores,
            dimensions=Dimensions(**dict(zip(DIMENSIONS, mapped.tolist(), strict=True))),
            uncertainty=entropy(scores),
            modalities=modalities,
            evidence=evidence,
        )

    def adapt(self, features: CompactFeatures) -> None:
        """Take a finished utterance into what is usual for this stream."""
        if features.measured.speech_seconds >= LEAST_SPEECH_SECONDS:
            self._know(self._usual.extended(features.measured, self._bundle.norm))

    def snapshot(self) -> bytes:
        """Return what was learnt, about 17 kB, for ``restore``."""
        return self._usual.to_bytes()

    def restore(self, state: bytes) -> None:
        """Go on with what ``snapshot`` returned; raises ``ModelError`` for anything else."""
        self._know(read_stats(state))

    def reset(self) -> None:
        """Forget the speaker: the next utterance is the first."""
        self._know(SpeakerStats())

    def _know(self, usual: SpeakerStats) -> None:
        self._usual = usual
        self._against: Reference | None = None

    def _reference(self) -> Reference:
        if self._against is None:
            self._against = self._usual.against(self._bundle.norm)
        return self._against

    def _calibration(self, modalities: tuple[str, ...]) -> Calibration:
        given = modality_set(audio="audio" in modalities, text="text" in modalities)
        return calibration_of(self._bundle.calibrations, given)

    def _answer(self, judged: Judgement) -> _Answer:
        """Calibrate a judgement; one that rests on nothing is even and in the middle."""
        if not judged.modalities:
            return np.full(len(CATEGORIES), 1.0 / len(CATEGORIES)), np.zeros(len(DIMENSIONS))
        calibration = self._calibration(judged.modalities)
        mapped = map_dimensions(judged.dimensions, DIMENSIONS, calibration)
        return probabilities(judged.logits, calibration), 2.0 * mapped - 1.0

    def _least(
        self, likeliest: str, modalities: tuple[str, ...], features: CompactFeatures
    ) -> float:
        """Return how likely a category must be to be named.

        Of a stream that is hardly known, an emotion is named only where it is nearly certain, as
        far as not the words alone say the same: a microphone that was never heard can pass for a
        mood.
        """
        usual = self._calibration(modalities).unsure_below
        if "audio" not in modalities or likeliest == "neutral" or usual >= 1.0:
            return usual
        doubt = 1.0 - self._usual.known
        if features.words is not None:
            unheard = replace(features, measured=Measured(features.measured.values, 0.0))
            said, _ = self._answer(self.judge(unheard))
            doubt *= 1.0 - features.weight * float(said[CATEGORIES.index(likeliest)])
        return usual + (1.0 - usual) * CAUTION_AT_FIRST * doubt

    def _evidence(self, measured: Measured, judged: Judgement, least: float) -> dict[str, float]:
        """Name the measurements that people can follow, and how sure the network was."""
        first, second = sorted(judged.logits.tolist(), reverse=True)[:2]
        evidence = {
            "known_utterances": self._usual.weight,
            "speech_seconds": measured.speech_seconds,
            "logit_margin": first - second,
            "unsure_below": least,
        }
        usual = self._reference()
        octave = float(measured.values[GROUPS["pitch"]][0])
        if octave == octave:
            place = GROUPS["pitch"].start
            evidence["f0_median_hz"] = 2.0**octave
            evidence["f0_deviations"] = float((octave - usual.mean[place]) / usual.deviation[place])
        return {name: round(value, 3) for name, value in evidence.items()}


def _mixed(both: _Answer, alone: _Answer, weight: float) -> _Answer:
    """Mix answers with words and without: calibrated logits and dimensions, words by weight."""
    with_words, without = (np.log(np.maximum(likely, _TINY)) for likely, _ in (both, alone))
    likely = probabilities(weight * with_words + (1.0 - weight) * without)
    return likely, weight * both[1] + (1.0 - weight) * alone[1]


def load_compact(directory: Path, name: str) -> CompactModel:
    """Load a bundled model under a name. Raises ``ModelError`` where it cannot be used."""
    return CompactModel(load_bundle(directory), name)


def _joined(measured: Measured, layers: Vectors) -> Measured:
    """Put what the layers say, float32 [VALUES], behind an utterance's statistics."""
    return Measured(np.concatenate([measured.values, layers]), measured.speech_seconds)


def measured_sound(sound: Sound | None, layers: LayerEncoder) -> Measured:
    """Measure a whole utterance, whatever of it there is; ``values`` float32 [MEASURED]."""
    if sound is None:
        return _joined(measure(np.zeros((0, 64), np.float32)), np.full(VALUES, np.nan, np.float32))
    if isinstance(sound, np.ndarray):
        return _joined(measure(*voice_frames(sound)), layers.encode(cleaned(sound), None))
    unheard = np.full(VALUES, np.nan, np.float32)
    said = unheard if sound.whisper is None else layers.encode_frames(sound.whisper)
    return _joined(measure(sound.decibels), said)
