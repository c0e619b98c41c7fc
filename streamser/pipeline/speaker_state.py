"""Who speaks at a session's microphone, and what is usual for each of them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from streamser.audio.clip import SAMPLE_RATE
from streamser.emotion.model import Features, Prediction, SpeakerModel
from streamser.errors import ConfigError, ModelError
from streamser.pipeline.requests import fault_of
from streamser.pipeline.session_config import SessionSnapshot, VoicesApart
from streamser.pipeline.utterance import Analysed, TrackedUtterance
from streamser.speech.clustering import VoiceSpace
from streamser.speech.diarisation import Change, Diariser, DiariserState, Part, Spoken
from streamser.speech.speakers import Voice, space_of

logger = logging.getLogger(__name__)

_KEPT = 120 * SAMPLE_RATE
"""Samples within which an utterance may turn out to be somebody else's: those of the diariser."""


class SpeakersState(msgspec.Struct, frozen=True):
    """Hold what is known of everybody at a microphone: models by label, and their voices.

    ``common`` is of all of them together.
    """

    common: bytes
    own: dict[str, bytes]
    voices: DiariserState | None

    def without_voices(self) -> SpeakersState:
        """Return the same where nobody's voice is known; labels that were given never come back."""
        if self.voices is None:
            return self
        return replace(self, own={}, voices=self.voices.forgotten())


class SpeakerMemory:
    """Keep what is learnt of speakers who are named, from one stream to the next.

    Streams of one speaker are to follow each other; those of several may run at the same time.
    """

    def __init__(self) -> None:
        self._models: dict[str, SpeakerModel] = {}

    def recall(self, speaker: str, make: Callable[[], SpeakerModel]) -> SpeakerModel:
        """Return the model of a speaker; ``make`` makes that of one who is new."""
        if speaker not in self._models:
            self._models[speaker] = make()
        return self._models[speaker]


# What a client says of who speaks


class RenameSpeaker(msgspec.Struct, frozen=True, tag=True):
    """Give a speaker a name; whoever has it already is the same person."""

    speaker: str
    name: str
    event_id: str | None = None


class MergeSpeakers(msgspec.Struct, frozen=True, tag=True):
    """Say that two speakers are one person, who keeps the name ``into``."""

    speaker: str
    into: str
    event_id: str | None = None


class AssignSpeaker(msgspec.Struct, frozen=True, tag=True):
    """Say whose an utterance is; a name that nobody has is a new speaker's."""

    item_id: str
    name: str
    event_id: str | None = None


class ForgetVoices(msgspec.Struct, frozen=True, tag=True):
    """Drop all voiceprints at once."""

    event_id: str | None = None


SpeakerOrder: TypeAlias = RenameSpeaker | MergeSpeakers | AssignSpeaker | ForgetVoices


class WhoSpoke(msgspec.Struct, frozen=True):
    """Say whose an utterance is, in which parts, and what is known better of earlier ones.

    ``label`` is the one with most of its time; ``None``: nobody can tell. Of neighbouring
    ``parts`` no two have one label.
    """

    label: str | None = None
    parts: tuple[Part, ...] = ()
    changes: tuple[Change, ...] = ()


class SpeakersHeard(msgspec.Struct, frozen=True, eq=False):
    """Hold how an utterance sounds, whose it is, and how each of its parts sounds that was read."""

    prediction: Prediction
    who: WhoSpoke
    readings: tuple[Prediction | None, ...]


class HeardPart(msgspec.Struct, frozen=True, eq=False):
    """Hold what a model found in the part of an utterance that is of one speaker."""

    part: Part
    features: Features


class _Learnt(msgspec.Struct, eq=False):
    """Keep what a model was taught of late: an utterance or a part of it, and whose it is."""

    item: int
    start: int
    end: int
    label: str | None
    features: Features


class SpeakerModels:
    """Keep a model of a session's microphone, and one of each voice told apart at it.

    Whose utterance it is, is known at its end only, and of some it never is. So the microphone's
    model adapts to all of them: it judges what is still going on and what has no label.
    Where no voices are told apart (no ``apart``) it is the only one. What turns out to be
    somebody else's within two minutes is taken out of the one model and into the other; not where
    the session has moved to another process meanwhile. Where several speak in an utterance the
    model of each takes in their own parts of it.
    """

    def __init__(
        self, make: Callable[[], SpeakerModel], model: str, apart: VoicesApart | None = None
    ) -> None:
        self._make = make
        self._model = model
        self._common = make()
        self._own: dict[str, SpeakerModel] = {}
        self._bases: dict[str, bytes] = {}
        """What each model knew before the oldest of what is kept of it."""
        self._learnt: list[_Learnt] = []
        self._apart: VoicesApart | None = None
        self._diariser: Diariser | None = None
        self.tell_apart(apart)

    def tell_apart(self, apart: VoicesApart | None) -> None:
        """Tell voices apart from here on, in this way or in another; with ``None`` forget them."""
        self._apart = apart
        if apart is None:
            self._forget()
        elif self._diariser is None:
            self._diariser = Diariser(partial(_space_of, apart), apart.telling)
        else:
            self._diariser.telling = apart.telling

    def enroll(self, voices: Mapping[str, Sequence[Voice]]) -> None:
        """Know people by their voices before anybody speaks; raises ``ConfigError``.

        Where voices are not told apart, nothing is kept of them.
        """
        if self._apart is not None and self._diariser is not None:
            for name, heard in voices.items():
                self._diariser.enroll(name, heard)

    def hear(self, spoken: Spoken) -> WhoSpoke:
        """Say whose the next utterance is, and whose earlier ones are after all."""
        if self._apart is None or self._diariser is None:
            return WhoSpoke()
        self._retire(spoken.end - _KEPT)
        found = self._diariser.hear(spoken)
        self._reassign(found.changes)
        return WhoSpoke(main_label(found.parts), joined(found.parts), found.changes)

    def whose(self, item: int, changed: Sequence[int] = ()) -> WhoSpoke:
        """Say whose an utterance that was heard is by now, and others that it has ``changed``.

        A client may have named somebody since, or let all be forgotten.
        """
        if self._diariser is None:
            return WhoSpoke()
        parts = self._diariser.parts_of(item)
        now = ((each, self._diariser.parts_of(each)) for each in changed)
        changes = tuple(Change(each, theirs) for each, theirs in now if theirs)
        return WhoSpoke(main_label(parts), joined(parts), changes)

    def identify(self, utterance: TrackedUtterance) -> list[tuple[int, int]]:
        """Find whose an utterance is, and what that changes of earlier ones; to be done once.

        Returns which stretches of it are of one speaker each, in samples, where there are several.
        Where that fails, as with voices of another size than before, so does the utterance.
        """
        outcome = utterance.outcome
        if not isinstance(outcome, Analysed) or utterance.unreadable:
            return []
        try:
            who = self.hear(
                Spoken(utterance.number, utterance.start, utterance.end, outcome.voices)
            )
        except Exception as error:
            utterance.outcome = fault_of(error)
            return []
        utterance.heard = True
        utterance.changes = tuple(change.item for change in who.changes)
        return [(part.start, part.end) for part in who.parts] if len(who.parts) > 1 else []

    def judge(
        self, utterance: TrackedUtterance, features: Features, *, guesses: bool
    ) -> SpeakersHeard:
        """Judge an utterance by what is usual for its speaker, and let that take it in.

        Where several speak, the whole is judged by what is usual for the one with most of its
        time, and each part that was asked about by what is usual for its own speaker, who takes in
        no more. Unless it ``guesses`` who speaks: a client may have said it in the meantime.
        """
        number, start, end = utterance.number, utterance.start, utterance.end
        who = self.whose(number, utterance.changes) if guesses else WhoSpoke()
        prediction = self.predict(features, who.label)
        found = [(part, utterance.parts.get((part.start, part.end))) for part in who.parts]
        readings = tuple(
            None if theirs is None else self.predict(theirs, part.label) for part, theirs in found
        )
        own = [HeardPart(part, theirs) for part, theirs in found if theirs is not None]
        self.adapt(features, who.label, item=number, start=start, end=end, parts=own)
        return SpeakersHeard(prediction, who, readings)

    def predict(self, features: Features, label: str | None = None) -> Prediction:
        """Judge features against what is usual for whoever has the label."""
        return self._of(label).predict(features)

    def adapt(
        self,
        features: Features,
        label: str | None = None,
        *,
        item: int = 0,
        start: int = 0,
        end: int = 0,
        parts: Sequence[HeardPart] = (),
    ) -> None:
        """Take in a finished utterance of whoever has the label; ``start`` and ``end`` are samples.

        Of several speakers each has what was found in their ``parts``, if that is known.
        """
        self._common.adapt(features)
        for each in parts or (HeardPart(Part(start, end, label), features),):
            place, found = each.part, each.features
            if place.label is not None:
                self._of(place.label).adapt(found)
            if self._apart is not None:
                self._learnt.append(_Learnt(item, place.start, place.end, place.label, found))

    def follow(
        self, order: SpeakerOrder, session_id: str
    ) -> tuple[dict[str, str], tuple[Change, ...]]:
        """Do what a client says of who speaks: what is renamed now, and what has changed.

        Raises ``ConfigError`` for what cannot be done.
        """
        diariser = self._diariser
        if isinstance(order, ForgetVoices):
            self._forget()
            return {}, ()
        if self._apart is None or diariser is None:
            raise ConfigError("voices are not told apart here: ask for it with session.speakers")
        match order:
            case RenameSpeaker(speaker, name):
                known = name in diariser.labels
                diariser.rename(speaker, name)
                return self._renamed(speaker, name, known=known), ()
            case MergeSpeakers(speaker, into):
                diariser.merge(speaker, into)
                return self._renamed(speaker, into, known=True), ()
            case AssignSpeaker(item_id, name):
                changes = diariser.assign(_number(item_id, session_id), name)
                self._reassign(changes)
                return {}, changes

    def snapshot(self) -> SessionSnapshot:
        """Return what was learnt at the microphone; labels mean nothing elsewhere."""
        return SessionSnapshot(self._model, self._common.snapshot())

    def restore(self, snapshot: SessionSnapshot) -> None:
        """Go on with what was learnt of the same speaker in another session.

        Raises ``ModelError`` for the state of another model, or a damaged one.
        Whatever a model raises: it then begins anew, with nothing half restored.
        """
        if snapshot.model != self._model:
            raise ModelError(
                f"what {snapshot.model} learnt of a speaker is of no use to {self._model}:"
                " start without it"
            )
        try:
            self._common.restore(snapshot.speaker)
        except Exception as error:
            self._common = self._make()
            if isinstance(error, ModelError):
                raise
            raise ModelError(
                f"what was learnt of a speaker cannot be restored: {type(error).__name__}: {error}"
            ) from error

    def state(self) -> SpeakersState:
        """Return all there is to go on from; raises what a model of a plug-in raises."""
        own = {label: model.snapshot() for label, model in self._own.items()}
        voices = None if self._diariser is None else self._diariser.snapshot()
        return SpeakersState(self._common.snapshot(), own, voices)

    def go_on(self, state: SpeakersState) -> None:
        """Go on from a ``state`` of the same session; raises ``ModelError`` for a damaged one."""
        self._common.restore(state.common)
        self._drop_all()
        for label, speaker in state.own.items():
            self._of(label).restore(speaker)
            self._bases[label] = speaker
        if self._diariser is not None and state.voices is not None:
            self._diariser.restore(state.voices)

    def reset(self) -> None:
        """Forget the speaker; voices told apart stay known, or one label would mean two."""
        try:
            self._common.reset()
        except Exception as error:
            # Whoever speaks next must not be judged by who spoke before.
            logger.error(
                "a speaker model could not be reset: another takes its place", exc_info=error
            )
            self._common = self._make()

    def _of(self, label: str | None) -> SpeakerModel:
        if label is None:
            return self._common
        if label not in self._own:
            self._own[label] = self._make()
        return self._own[label]

    def _forget(self) -> None:
        if self._diariser is not None:
            self._diariser.forget()
        self._drop_all()

    def _drop_all(self) -> None:
        self._own.clear()
        self._bases.clear()
        self._learnt.clear()

    def _reassign(self, changes: Sequence[Change]) -> None:
        """Let the models follow utterances that are somebody else's after all."""
        now = {change.item: change.parts for change in changes}
        touched: set[str] = set()
        for kept in self._learnt:
            label = kept.label
            if (parts := now.get(kept.item)) is not None:
                label = main_label(_within(parts, kept.start, kept.end))
            touched |= {each for each in (kept.label, label) if each and label != kept.label}
            kept.label = label
        self._relearn(touched)
        self._forget_strangers()

    def _forget_strangers(self) -> None:
        """Drop models of labels that nobody has any more: whoever gets one next is another."""
        assert self._diariser is not None, "there are labels only where voices are told apart"
        gone = self._own.keys() - set(self._diariser.labels)
        for label in gone:
            del self._own[label]
            self._bases.pop(label, None)

    def _relearn(self, labels: set[str]) -> None:
        """Teach models anew what is kept of theirs."""
        for label in sorted(labels):
            try:
                self._own[label] = self._taught(label, self._learnt)
            except Exception as error:
                # A model of others may fail: labels are told all the same.
                logger.error("what is usual for %s stays as it was", label, exc_info=error)

    def _taught(self, label: str, learnt: Sequence[_Learnt]) -> SpeakerModel:
        """Return a model that knows what its base does, and after it some utterances, in order."""
        model = self._make()
        if label in self._bases:
            model.restore(self._bases[label])
        for kept in learnt:
            if kept.label == label:
                model.adapt(kept.features)
        return model

    def _retire(self, before: int) -> None:
        """Let features go of utterances that stay whose they are: models alone know of them."""
        gone = [kept for kept in self._learnt if kept.end <= before]
        if not gone:
            return
        self._learnt = [kept for kept in self._learnt if kept.end > before]
        for label in sorted({kept.label for kept in gone if kept.label is not None}):
            try:
                self._bases[label] = self._taught(label, gone).snapshot()
            except Exception as error:
                logger.error("what %s said long ago is forgotten", label, exc_info=error)

    def _renamed(self, label: str, name: str, *, known: bool) -> dict[str, str]:
        """Let what is usual for a label be usual for a name, with what is of whoever has it."""
        if label == name:
            return {}
        for kept in self._learnt:
            if kept.label == label:
                kept.label = name
        model, base = self._own.pop(label, None), self._bases.pop(label, None)
        if base is not None:
            # Of two people who are one, the older memory of one must do: sums cannot be joined.
            self._bases.setdefault(name, base)
        if known:
            self._relearn({name})
        elif model is not None:
            self._own[name] = model
        return {label: name}


def main_label(parts: Sequence[Part]) -> str | None:
    """Return the label with most of an utterance's time; ``None`` where there is none."""
    spoken: Counter[str] = Counter()
    for part in parts:
        if part.label is not None:
            spoken[part.label] += part.end - part.start
    return max(spoken, key=spoken.__getitem__, default=None)


def joined(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Return parts of which no two neighbours have one label."""
    together = (list(group) for _, group in groupby(parts, lambda part: part.label))
    return tuple(Part(each[0].start, each[-1].end, each[0].label) for each in together)


def _within(parts: Sequence[Part], start: int, end: int) -> list[Part]:
    """Return what of parts lies between two samples."""
    cut = (Part(max(each.start, start), min(each.end, end), each.label) for each in parts)
    return [each for each in cut if each.start < each.end]


def _space_of(apart: VoicesApart, size: int) -> VoiceSpace:
    return space_of(apart.embedder, apart.likeness)(size)


def _number(item_id: str, session_id: str) -> int:
    prefix = f"item_{session_id}_"
    number = item_id.removeprefix(prefix)
    if not item_id.startswith(prefix) or not (number.isascii() and number.isdigit()):
        raise ConfigError(f"there is no utterance {item_id[:80]!r} in this session")
    return int(number[:9])
