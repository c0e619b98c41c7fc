"""One utterance as people see it: its two final events read as one; and many, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, SupportsIndex, overload

import msgspec

from streamser.events import (
    EmotionBody,
    EmotionCompleted,
    Event,
    SpeakerPart,
    SpeakersChanged,
    TranscriptionCompleted,
    TranscriptionFailed,
)
from streamser.taxonomy import DIMENSIONS

if TYPE_CHECKING:
    import pandas

UNCERTAIN: Final = "uncertain speaker"
"""What people read in place of a name where nobody can tell whose of several voices it is."""


class Utterance(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what came of one utterance; ``emotion`` is ``None`` where the analysis failed.

    ``transcript`` is ``None`` where the session is not transcribed, ``""`` where nothing was
    understood. ``speaker`` is named where there are several, and ``parts`` say who speaks when
    where several do in the one utterance. Times ending in ``_ms`` are ms of
    audio, ``start`` and ``end`` the same in seconds. ``file`` is the recording it is from.
    """

    item_id: str
    start_ms: int
    end_ms: int
    transcript: str | None = None
    distrusted: str | None = None
    emotion: EmotionBody | None = None
    lag_ms: float | None = None
    fault: str | None = None
    speaker: str | None = None
    parts: tuple[SpeakerPart, ...] = ()
    file: str = ""

    def __repr__(self) -> str:
        seen = ("start", "end", "text", "label", "score", *DIMENSIONS, "speaker", "fault")
        values = ((name, getattr(self, name)) for name in seen)
        told = [f"{name}={value!r}" for name, value in values if value not in (None, "")]
        return f"Utterance({', '.join(told)})"

    @property
    def start(self) -> float:
        """Return where it begins, s of audio."""
        return self.start_ms / 1000

    @property
    def end(self) -> float:
        """Return where it ends, s of audio."""
        return self.end_ms / 1000

    @property
    def text(self) -> str:
        """Return its words; empty where none were understood, or asked for."""
        return self.transcript or ""

    @property
    def label(self) -> str | None:
        """Return the category of emotion, ``unsure`` among them; ``None`` where it failed."""
        return None if self.emotion is None else self.emotion.category

    @property
    def score(self) -> float | None:
        """Return the probability of the likeliest category, 0 to 1."""
        return None if self.emotion is None else self.emotion.confidence

    @property
    def scores(self) -> dict[str, float]:
        """Return the probabilities of all categories; none where it failed."""
        return {} if self.emotion is None else self.emotion.scores

    @property
    def valence(self) -> float | None:
        """Return how pleasant it is, -1 to 1; ``None`` where that was not measured."""
        return None if self.emotion is None else self.emotion.dimensions.valence

    @property
    def arousal(self) -> float | None:
        """Return how excited it is, -1 to 1; ``None`` where that was not measured."""
        return None if self.emotion is None else self.emotion.dimensions.arousal

    @property
    def dominance(self) -> float | None:
        """Return how dominant it is, -1 to 1; ``None`` where that was not measured."""
        return None if self.emotion is None else self.emotion.dimensions.dominance

    @property
    def uncertainty(self) -> float | None:
        """Return the normalised entropy of the scores, 0 to 1."""
        return None if self.emotion is None else self.emotion.uncertainty


class Utterances(list[Utterance]):
    """Hold the utterances of one or more recordings, in their order; so do parts and sums."""

    @overload
    def __getitem__(self, place: SupportsIndex) -> Utterance: ...

    @overload
    def __getitem__(self, place: slice) -> Utterances: ...

    def __getitem__(self, place: SupportsIndex | slice) -> Utterance | Utterances:
        if isinstance(place, slice):
            return Utterances(super().__getitem__(place))
        return super().__getitem__(place)

    def __add__(self, others: list[Utterance]) -> Utterances:  # type: ignore[override]
        return Utterances(super().__add__(others))

    def copy(self) -> Utterances:
        """Return the same utterances once more."""
        return Utterances(self)

    def follow(self, event: Event) -> None:
        """Let those that are here be whose an event says they are after all.

        For events of the one session that they are from; most change nothing.
        """
        if isinstance(event, SpeakersChanged) or (
            isinstance(event, EmotionCompleted) and event.parts
        ):
            self[:] = (attributed(spoken, event) for spoken in self)

    def to_frame(self, *, parts: bool = False) -> pandas.DataFrame:
        """Return a row an utterance; the index ``file``, ``start``, ``end`` is audformat's.

        Columns are ``label``, ``score``, ``valence``, ``arousal``, ``dominance``,
        ``uncertainty``, ``text``, ``speaker``, ``problem`` and ``score_CATEGORY`` for each
        category; what was not measured is missing. With ``parts`` also a column of them: tuples
        of start and end in s of audio, a speaker, and the label of their own emotion, if it was
        read, where several speak in one utterance.
        Raises ``ModuleNotFoundError`` without pandas.
        """
        pandas = needs_pandas("to_frame()")
        index = pandas.MultiIndex.from_arrays(
            [
                pandas.Index([each.file for each in self], dtype="object"),
                pandas.to_timedelta([each.start_ms for each in self], unit="ms"),
                pandas.to_timedelta([each.end_ms for each in self], unit="ms"),
            ],
            names=["file", "start", "end"],
        )
        values = ("label", "score", *DIMENSIONS, "uncertainty", "text", "speaker")
        table = {name: [getattr(each, name) for each in self] for name in values}
        table["problem"] = [each.fault for each in self]
        for category in dict.fromkeys(name for each in self for name in each.scores):
            table[f"score_{category}"] = [each.scores.get(category) for each in self]
        if parts:
            table["parts"] = [
                tuple(
                    (
                        one.start_ms / 1000,
                        one.end_ms / 1000,
                        one.speaker,
                        None if one.emotion is None else one.emotion.category,
                    )
                    for one in each.parts
                )
                for each in self
            ]
        return pandas.DataFrame(table, index=index)


def needs_pandas(doer: str) -> Any:
    """Return pandas; raise ``ModuleNotFoundError`` that says what to install for ``doer``."""
    try:
        import pandas
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"{doer} needs pandas: run pip install 'streamser[notebook]'.", name="pandas"
        ) from None
    return pandas


def likeliest(emotion: EmotionBody) -> str:
    """Return the category with the highest score, also where the judgement is ``unsure``.

    Where all are alike, as of a model that knows dimensions alone, none is the likeliest.
    """
    if len(set(emotion.scores.values())) == 1:
        return emotion.category
    return max(emotion.scores, key=emotion.scores.__getitem__, default=emotion.category)


def name_of(emotion: EmotionBody | None) -> str | None:
    """Return whom people read beside an emotion; ``None`` where nobody is named."""
    if emotion is None:
        return None
    return UNCERTAIN if emotion.speaker is None and emotion.speaker_provisional else emotion.speaker


def reassigned(emotion: EmotionBody, speaker: str | None) -> EmotionBody:
    """Return an emotion that is somebody else's after all; ``None``: nobody can tell whose."""
    guessed = emotion.speaker_provisional or speaker is None
    return msgspec.structs.replace(emotion, speaker=speaker, speaker_provisional=guessed)


def relabelled(
    parts: tuple[SpeakerPart, ...], renamed: Mapping[str, str]
) -> tuple[SpeakerPart, ...]:
    """Return parts with the names that their speakers have now."""
    return tuple(
        msgspec.structs.replace(part, speaker=renamed.get(part.speaker or "", part.speaker))
        for part in parts
    )


def reread(
    parts: tuple[SpeakerPart, ...], told: tuple[SpeakerPart, ...]
) -> tuple[SpeakerPart, ...]:
    """Return parts of an utterance with what was read of them before their speakers changed.

    Each has the reading of what was told as one part with most of it.
    """
    if not told:
        return parts

    def before(part: SpeakerPart) -> SpeakerPart:
        return max(
            told, key=lambda old: min(old.end_ms, part.end_ms) - max(old.start_ms, part.start_ms)
        )

    return tuple(msgspec.structs.replace(part, emotion=before(part).emotion) for part in parts)


def attributed(spoken: Utterance, event: Event) -> Utterance:
    """Return an utterance as whose an event of its session, told after it, says it is."""
    if isinstance(event, EmotionCompleted) and event.item_id == spoken.item_id:
        return msgspec.structs.replace(spoken, parts=event.parts)
    if not isinstance(event, SpeakersChanged):
        return spoken
    emotion, speaker, parts = spoken.emotion, spoken.speaker, spoken.parts
    if event.renamed:
        speaker = event.renamed.get(speaker or "", speaker)
        parts = relabelled(parts, event.renamed)
        if emotion is not None and emotion.speaker in event.renamed:
            emotion = reassigned(emotion, event.renamed[emotion.speaker])
    for change in event.changes:
        if change.item_id == spoken.item_id:
            speaker, parts = change.speaker, reread(change.parts, parts)
            emotion = None if emotion is None else reassigned(emotion, speaker)
    return msgspec.structs.replace(spoken, emotion=emotion, speaker=speaker, parts=parts)


def read_utterance(event: Event, *, transcribed: bool) -> Utterance | None:
    """Read the utterance that an event finishes; ``None`` for every other event.

    A session that is transcribed finishes an utterance with two events, both carrying the
    emotion; the one with the words counts then, and the other one else.
    """
    match event:
        case TranscriptionCompleted():
            return Utterance(
                item_id=event.item_id,
                start_ms=event.audio_start_ms,
                end_ms=event.audio_end_ms,
                transcript=event.transcript,
                distrusted=event.distrusted,
                emotion=event.emotion,
                lag_ms=event.lag_ms,
            )
        case EmotionCompleted() if not transcribed:
            return Utterance(
                item_id=event.item_id,
                start_ms=event.emotion.window.start_ms,
                end_ms=event.emotion.window.end_ms,
                emotion=event.emotion,
                lag_ms=event.lag_ms,
                parts=event.parts,
            )
        case TranscriptionFailed():
            return Utterance(
                item_id=event.item_id,
                start_ms=event.audio_start_ms,
                end_ms=event.audio_end_ms,
                fault=event.error.message,
                lag_ms=event.lag_ms,
            )
    return None
