"""What is found in an utterance that is over: whose it is, and how each who speaks in it sounds.

Both halves are light, and go by the order of utterances: ``identify`` by the voices in it, and
``judge`` by what is usual for whoever they are.
"""

from __future__ import annotations

import msgspec

from streamser.events import EmotionBody, SpeakerPart
from streamser.pipeline.emitter import UNREADABLE, EventBuilder
from streamser.pipeline.requests import fault_of
from streamser.pipeline.speaker_state import HeardPart, SpeakerModels, WhoSpoke
from streamser.pipeline.utterance import Analysed, TrackedUtterance
from streamser.speech.diarisation import Change, Spoken


class UtteranceReading(msgspec.Struct, frozen=True):
    """Hold how an utterance sounds, and, where several speak in it, each of its parts.

    ``changes`` say whose earlier ones are after all.
    """

    emotion: EmotionBody
    parts: tuple[SpeakerPart, ...] = ()
    changes: tuple[Change, ...] = ()


def identify(utterance: TrackedUtterance, speakers: SpeakerModels) -> list[tuple[int, int]]:
    """Find whose an utterance is, and what that changes of earlier ones; to be done once.

    Returns which stretches of it are of one speaker each, in samples, where there are several.
    Where that fails, as with voices of another size than before, so does the utterance.
    """
    outcome = utterance.outcome
    if not isinstance(outcome, Analysed) or utterance.unreadable:
        return []
    spoken = Spoken(utterance.number, utterance.start, utterance.end, outcome.voices)
    try:
        who = speakers.hear(spoken)
    except Exception as error:
        utterance.outcome = fault_of(error)
        return []
    utterance.heard = True
    utterance.changes = tuple(change.item for change in who.changes)
    return [(part.start, part.end) for part in who.parts] if len(who.parts) > 1 else []


def judge(
    utterance: TrackedUtterance,
    outcome: Analysed,
    speakers: SpeakerModels,
    builder: EventBuilder,
    *,
    guesses: bool,
) -> UtteranceReading:
    """Judge an utterance by what is usual for its speaker, and let that take it in.

    Where several speak, the whole is judged by what is usual for the one with most of its time,
    and each part that was asked about by what is usual for its own speaker, who takes in no more.
    Unless it ``guesses`` who speaks: a client may have said it in the meantime.
    """
    number, start, end = utterance.number, utterance.start, utterance.end
    if utterance.unreadable:
        return UtteranceReading(builder.emotion(UNREADABLE, start, end, None, outcome.overlap))
    who = speakers.whose(number, utterance.changes) if guesses else WhoSpoke()
    prediction = speakers.predict(outcome.features, who.label)
    found = [utterance.parts.get((part.start, part.end)) for part in who.parts]
    readings = [
        None if features is None else speakers.predict(features, part.label)
        for part, features in zip(who.parts, found, strict=True)
    ]
    own = [
        HeardPart(part, features)
        for part, features in zip(who.parts, found, strict=True)
        if features is not None
    ]
    speakers.adapt(outcome.features, who.label, item=number, start=start, end=end, parts=own)
    emotion = builder.emotion(prediction, start, end, who.label, outcome.overlap)
    return UtteranceReading(emotion, builder.parts(who.parts, readings), who.changes)
