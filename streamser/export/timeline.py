"""Utterances of one recording or a whole meeting on one clock, each of one speaker; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from streamser import events
from streamser.export.records import (
    Lags,
    Recording,
    SessionRecord,
    Timeline,
    UtteranceRecord,
    mixed,
    sound_of,
)
from streamser.export.subtitles import pieces_of
from streamser.export.utterances import UNCERTAIN
from streamser.text import flat


def timeline_of(recording: Recording, *, one_clock: bool = False) -> Timeline:
    """Lay the sessions of a recording on one clock; of several in one utterance each for itself.

    Sessions of one meeting go by its clock, where a server has stamped their events. With
    ``one_clock`` the times of all sessions are taken to count from the same moment, as those
    of one stream whose server was restarted do. Raises ``StreamserError`` where neither is so.
    """
    sessions = recording.sessions
    names = _SpeakerNames(sessions)
    shifting = len(sessions) > 1 and not one_clock
    if shifting:
        _refuse_strangers(sessions)
    utterances = []
    for session in sessions:
        for utterance in session.utterances:
            by = (utterance.shift_ms or 0) if shifting else 0
            for turn in turns_of(utterance):
                named = replace(turn, speaker=names.of(session, turn))
                utterances.append(_shifted(named, by))
    utterances.sort(key=lambda each: (each.start_ms, each.end_ms))
    reached = max((each.end_ms for each in utterances), default=0)
    sounds = {sound_of(session) for session in sessions}
    return Timeline(
        utterances=tuple(utterances),
        length_ms=reached if shifting else max([reached, *(each.audio_ms for each in sessions)]),
        categories=recording.categories,
        sessions=sessions,
        sound=sounds.pop() if len(sounds) == 1 and not shifting else None,
    )


def turns_of(utterance: UtteranceRecord) -> tuple[UtteranceRecord, ...]:
    """Cut an utterance in which several speak: one record for each part, of its speaker.

    Words go by their times; where there are none all stand with the part of whoever has most of
    the time, the longest. So does what was told of the whole as it went, and how late. A part has
    its own reading; where none of them has one, the whole's goes with its speaker's.
    """
    parts = utterance.parts
    if len(parts) < 2 or not utterance.final or utterance.fault is not None:
        return (utterance,)
    theirs = [part for part in parts if part.speaker == utterance.speaker]
    main = max(theirs or parts, key=lambda part: part.end_ms - part.start_ms)
    texts = _texts(utterance, main)
    unread = all(part.emotion is None for part in parts)
    return tuple(
        replace(
            utterance if part is main else _bare(utterance),
            start_ms=part.start_ms,
            end_ms=part.end_ms,
            transcript=text,
            words=tuple(word for word in utterance.words if _place(word, parts) is part),
            emotion=utterance.emotion
            if unread and part.speaker == utterance.speaker
            else _emotion(utterance.emotion, part),
            speaker=part.speaker,
            speaker_provisional=True,
            parts=(),
        )
        for part, text in zip(parts, texts, strict=True)
    )


def _bare(utterance: UtteranceRecord) -> UtteranceRecord:
    return replace(utterance, lags=Lags(), readings=(), provisional=None, partials=())


def _texts(utterance: UtteranceRecord, main: events.SpeakerPart) -> list[str | None]:
    """Return the words of each part."""
    whole = utterance.transcript
    if whole is None:
        return [None] * len(utterance.parts)
    pieces = pieces_of(flat(whole), utterance.words)
    if not pieces:
        return [whole if part is main else "" for part in utterance.parts]
    return [
        "".join(each.text for each in pieces if _place(each, utterance.parts) is part).strip()
        for part in utterance.parts
    ]


def _place(said: Any, parts: Sequence[events.SpeakerPart]) -> events.SpeakerPart:
    """Return the part in which the middle of something said lies; the nearest where in none."""
    middle = (said.start_ms + said.end_ms) / 2
    return min(parts, key=lambda part: max(part.start_ms - middle, middle - part.end_ms, 0))


def _emotion(
    whole: events.EmotionBody | None, part: events.SpeakerPart
) -> events.EmotionBody | None:
    if whole is None or part.emotion is None:
        return None
    read = {name: getattr(part.emotion, name) for name in events.PartEmotion.__struct_fields__}
    return replace(
        whole,
        **read,
        speaker=part.speaker,
        speaker_provisional=True,
        window=events.Window(start_ms=part.start_ms, end_ms=part.end_ms),
        evidence={},
    )


def _refuse_strangers(sessions: Sequence[SessionRecord]) -> None:
    """Raise ``StreamserError`` for sessions of which nobody knows how they lie in time."""
    meetings = {session.meeting for session in sessions}
    placed = all(each.shift_ms is not None for one in sessions for each in one.utterances)
    if len(meetings) == 1 and None not in meetings and placed:
        return
    raise mixed(
        {session.session_id: session.meeting for session in sessions},
        ", or add --one-clock if their times count from the same moment",
    )


class _SpeakerNames:
    """Call speakers so that one name is one person, as a meeting's events do."""

    def __init__(self, sessions: Sequence[SessionRecord]) -> None:
        self._alone = len(sessions) == 1
        self._streams: dict[str, int] = {}

    def of(self, session: SessionRecord, utterance: UtteranceRecord) -> str | None:
        """Return whose utterance it is."""
        name = utterance.speaker
        if name is None and utterance.speaker_provisional:
            name = UNCERTAIN
        if name is None:
            return None if self._alone else session.session_id
        if not utterance.speaker_provisional:
            return name
        # One label of two microphones is not one person.
        stream = self._streams.setdefault(session.session_id, len(self._streams) + 1)
        return name if stream == 1 else f"{name} (stream {stream})"


def _shifted(utterance: UtteranceRecord, by: int) -> UtteranceRecord:
    """Move an utterance, its words and its readings; nothing begins before the clock does."""
    start, end = utterance.start_ms + by, utterance.end_ms + by
    if by == 0 and start >= 0:
        return utterance

    def moved(span: Any) -> Any:
        times = {"start_ms": max(0, span.start_ms + by), "end_ms": max(0, span.end_ms + by)}
        return replace(span, **times)

    def felt(emotion: events.EmotionBody) -> events.EmotionBody:
        return replace(emotion, window=moved(emotion.window))

    emotion, alone = utterance.emotion, utterance.provisional
    return replace(
        utterance,
        start_ms=max(0, start),
        end_ms=max(0, end),
        words=tuple(moved(word) for word in utterance.words),
        parts=tuple(moved(part) for part in utterance.parts),
        emotion=None if emotion is None else felt(emotion),
        provisional=None if alone is None else replace(alone, emotion=felt(alone.emotion)),
        readings=tuple(replace(each, emotion=felt(each.emotion)) for each in utterance.readings),
        partials=tuple(
            replace(each, end_ms=max(0, each.end_ms + by)) for each in utterance.partials
        ),
    )
