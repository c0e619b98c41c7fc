"""One real instance of every event, for the protocol document: a stream from end to end."""

from __future__ import annotations

from typing import Any

from streamser.events import (
    Advice,
    AnyEvent,
    AudioConfig,
    AudioFormat,
    AudioInput,
    Cleared,
    Committed,
    EmotionBody,
    EmotionCompleted,
    EmotionDelta,
    EmotionProvisional,
    ErrorBody,
    ErrorRaised,
    Finished,
    Limits,
    Marker,
    MeetingState,
    MeetingUpdated,
    ModelNames,
    MoodBody,
    MoodShifted,
    MoodUpdated,
    Overload,
    SessionClosed,
    SessionCreated,
    SessionEvent,
    SessionInfo,
    SessionResumed,
    SessionState,
    SessionUpdated,
    Snapshot,
    SpeakerChange,
    SpeakersChanged,
    SpeakerState,
    SpeechStarted,
    SpeechStopped,
    TranscriptionCompleted,
    TranscriptionConfig,
    TranscriptionDelta,
    TranscriptionFailed,
    TranscriptPartial,
    TurnDetection,
    Usage,
    Window,
    WordTiming,
)
from streamser.server.dialects.openai_realtime import (
    AppendMessage,
    AssignMessage,
    AudioInputUpdate,
    AudioUpdate,
    ClearMessage,
    ClientMessage,
    CommitMessage,
    FinishMessage,
    ForgetMessage,
    FormatUpdate,
    MarkerMessage,
    MergeMessage,
    RenameMessage,
    ServerVad,
    SessionChange,
    UpdateMessage,
)
from streamser.taxonomy import Dimensions

__all__ = ["examples", "message_examples"]

_SESSION = "sess_5f0c"
_FIRST = f"item_{_SESSION}_1"
_SECOND = f"item_{_SESSION}_2"


_CURSOR = 1_795_725_560_631


def examples() -> list[AnyEvent]:
    """Return the examples: of a session in the order in which it sends them, then of listeners."""
    return [*_session_examples(), *_listener_examples()]


def message_examples() -> list[ClientMessage]:
    """Return an example of every message of a client."""
    change = AudioInputUpdate(
        format=FormatUpdate(type="audio/pcm", rate=16_000),
        turn_detection=ServerVad(threshold=0.5, silence_duration_ms=400),
    )
    return [
        UpdateMessage(session=SessionChange(audio=AudioUpdate(input=change))),
        AppendMessage(audio="AAD//wEA"),
        CommitMessage(event_id="message_7"),
        ClearMessage(),
        MarkerMessage(id="end of question 1"),
        RenameMessage(speaker="speaker 1", name="Anna"),
        MergeMessage(speaker="speaker 2", into="Anna"),
        AssignMessage(item_id=_FIRST, name="Anna"),
        ForgetMessage(),
        FinishMessage(),
    ]


def _session_examples() -> list[SessionEvent]:
    scores = {"neutral": 0.18, "happy": 0.61, "sad": 0.09, "angry": 0.12}
    dimensions = Dimensions(valence=0.64, arousal=0.31, dominance=None)
    delta = _emotion(dict.fromkeys(scores, 0.25), Dimensions(arousal=0.22), "audio", end=1700)
    alone = _emotion(
        {"neutral": 0.33, "happy": 0.36, "sad": 0.1, "angry": 0.21},
        Dimensions(valence=0.19, arousal=0.31),
        "audio",
        end=2660,
    )
    final = _emotion(scores, dimensions, "audio", "text", end=2660)
    return [
        SessionCreated(**_envelope(1, None), session=_session(silence_ms=500)),
        SessionUpdated(**_envelope(2, None), session=_session(silence_ms=400)),
        SpeechStarted(**_envelope(3, 320.4), item_id=_FIRST, audio_start_ms=640),
        TranscriptPartial(
            **_envelope(4, 46.1),
            item_id=_FIRST,
            text="it is a wonderful surprise",
            committed="it is a",
            revisable=" wonderful surprise",
            audio_start_ms=640,
            audio_end_ms=1700,
        ),
        TranscriptionDelta(**_envelope(5, None), item_id=_FIRST, delta="it is a"),
        EmotionDelta(**_envelope(6, 46.2), item_id=_FIRST, emotion=delta),
        SpeechStopped(**_envelope(7, 341.0), item_id=_FIRST, audio_end_ms=2660, reason="pause"),
        Committed(**_envelope(8, None), item_id=_FIRST, previous_item_id=None),
        EmotionProvisional(**_envelope(9, 641.3), item_id=_FIRST, emotion=alone),
        TranscriptionCompleted(
            **_envelope(10, 1052.7),
            item_id=_FIRST,
            transcript="it is a wonderful surprise",
            language="en",
            confidence=0.83,
            words=(WordTiming(word="it", start_ms=840, end_ms=930, confidence=0.97),),
            usage=Usage(seconds=2.02),
            audio_start_ms=640,
            audio_end_ms=2660,
            emotion=final,
        ),
        EmotionCompleted(**_envelope(11, 1052.8), item_id=_FIRST, emotion=final),
        MoodUpdated(
            **_envelope(12, 1052.9),
            category="happy",
            scores=scores,
            dimensions=dimensions,
            shift=True,
            previous="neutral",
            speaker="Anna",
            audio_end_ms=2660,
        ),
        SpeakersChanged(
            **_envelope(13, None),
            changes=(SpeakerChange(item_id=_FIRST, speaker="speaker 2"),),
            renamed={"speaker 1": "Anna"},
        ),
        Overload(
            **_envelope(14, None),
            kind="partials",
            dropped=3,
            total=3,
            since_ms=4200,
            reason="full",
        ),
        TranscriptionFailed(
            **_envelope(15, 912.5),
            item_id=_SECOND,
            error=ErrorBody(
                type="server_error",
                code="overloaded",
                message="32 utterances are waiting already",
            ),
            audio_start_ms=4010,
            audio_end_ms=6230,
        ),
        SessionResumed(**_envelope(16, None), received_frames=103_680),
        Cleared(**_envelope(17, None)),
        Marker(**_envelope(18, None), id="end of question 1", audio_ms=6500),
        Advice(
            **_envelope(19, None),
            kind="scale",
            message="float samples lie far beyond -1 to 1: divide them by 32768",
        ),
        ErrorRaised(
            **_envelope(20, None),
            error=ErrorBody(
                type="invalid_request_error",
                code="input_audio_buffer_commit_empty",
                message="there is nothing to commit: no speech is open, or less than 100 ms was"
                " sent",
                event_id="message_7",
            ),
        ),
        SessionClosed(
            **_envelope(21, None),
            audio_ms=7040,
            speech_ms=4240,
            utterances=2,
            failed=1,
            partials_dropped=3,
            audio_dropped_ms=0,
        ),
    ]


def _listener_examples() -> list[AnyEvent]:
    scores = {"neutral": 0.41, "happy": 0.34, "sad": 0.14, "angry": 0.11}
    mood = MoodBody(
        category="neutral", scores=scores, dimensions=Dimensions(valence=0.21, arousal=0.08)
    )
    speaker = SpeakerState(
        speaker="Anna", speaking=False, speech_ms=2020, share=1.0, utterances=1, mood=mood
    )
    meeting = MeetingState(
        meeting="standup", at_ms=9120, mood=mood, speakers=(speaker,), overlap_ms=0
    )
    final = Finished(
        session_id=_SESSION,
        item_id=_FIRST,
        speaker="Anna",
        meeting="standup",
        at_ms=3712,
        lag_ms=1052.7,
        audio_start_ms=640,
        audio_end_ms=2660,
        transcript="it is a wonderful surprise",
        emotion=_emotion(scores, Dimensions(valence=0.64, arousal=0.31), "audio", end=2660),
    )
    return [
        Snapshot(
            event_id=f"event_snapshot_{_CURSOR}",
            cursor=_CURSOR,
            replay_from=None,
            lost=False,
            sessions=(SessionState(session=_session(silence_ms=400), seq=12),),
            meetings=(meeting,),
            finals=(final,),
        ),
        MeetingUpdated(
            event_id="event_meeting_standup_1",
            meeting="standup",
            at_ms=3713,
            mood=mood,
            speakers=(speaker,),
            overlap_ms=0,
        ),
        MoodShifted(
            event_id="event_meeting_standup_2",
            meeting="standup",
            at_ms=3713,
            speaker="Anna",
            category="happy",
            previous="neutral",
        ),
    ]


def _session(silence_ms: int) -> SessionInfo:
    return SessionInfo(
        id=_SESSION,
        models=ModelNames(
            vad="silero", asr="faster-whisper/tiny.en", asr_arithmetic="float32", emotion="compact"
        ),
        silence_ms=silence_ms,
        max_utterance_ms=20_000,
        partial_every_ms=500,
        speaker="Anna",
        meeting="standup",
        audio=AudioConfig(
            input=AudioInput(
                format=AudioFormat(type="audio/pcm", rate=16_000),
                transcription=TranscriptionConfig(model="faster-whisper/tiny.en", language="en"),
                turn_detection=TurnDetection(
                    threshold=0.5, prefix_padding_ms=200, silence_duration_ms=silence_ms
                ),
            )
        ),
        limits=Limits(message_bytes=2_097_152, idle_s=300, session_s=14_400, resume_s=30, speed=8),
    )


def _envelope(seq: int, lag_ms: float | None) -> dict[str, Any]:
    return {
        "event_id": f"event_{_SESSION}_{seq}",
        "session_id": _SESSION,
        "seq": seq,
        "lag_ms": lag_ms,
    }


def _emotion(
    scores: dict[str, float], dimensions: Dimensions, *modalities: str, end: int
) -> EmotionBody:
    best = max(scores, key=scores.__getitem__)
    flat = len(set(scores.values())) == 1
    return EmotionBody(
        category="unsure" if flat else best,
        confidence=scores[best],
        scores=scores,
        dimensions=dimensions,
        uncertainty=1.0 if flat else 0.79,
        modalities=modalities,
        speaker="Anna",
        window=Window(start_ms=640, end_ms=end),
        model="compact",
        evidence={"f0_median_hz": 213.0},
    )
