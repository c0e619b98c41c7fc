"""Who speaks at one microphone, utterance by utterance, and who it was after all.

Voices that were heard come in, labels go out, and corrections of labels that were given before:
the last two minutes are clustered anew with every utterance, older ones are sums of evidence.
There is no clock, no thread and no model here; docs/speakers.md says what was tried.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np
from msgspec.structs import replace

from streamser.audio.clip import SAMPLE_RATE, to_samples
from streamser.errors import ConfigError
from streamser.speech.clustering import (
    Evidence,
    Numbers,
    Telling,
    Voice,
    VoiceSpace,
    cluster,
    offset,
    runs,
)

__all__ = ["Change", "Diariser", "DiariserState", "Outcome", "Part", "Spoken"]
__all__ += ["Telling", "VoiceWindow", "voice_windows"]

WINDOW: Final = to_samples(1_500)
"""Samples of sound that one embedding describes."""
HOP: Final = to_samples(750)
SHORTEST: Final = to_samples(400)
"""Samples below which a voice says too little to be described."""

_MEMORY: Final = 120 * SAMPLE_RATE
_FOUNDING: Final = to_samples(800)
"""Speech that a voice nobody knows must have said before it is a speaker of its own."""


class VoiceWindow(msgspec.Struct, frozen=True, eq=False):
    """Hold what a voice sounded like from sample ``start`` to just before ``end``."""

    start: int
    end: int
    voice: Voice


class Spoken(msgspec.Struct, frozen=True, eq=False):
    """Hold an utterance that is over: its number in the session, its place, and its voices.

    ``windows`` are in order, those of ``voice_windows`` for which there is a voice; maybe none.
    """

    item: int
    start: int
    end: int
    windows: tuple[VoiceWindow, ...]


class Part(msgspec.Struct, frozen=True):
    """Hold whose the sound from ``start`` to just before ``end`` is; ``None``: nobody can tell.

    An utterance has one, or more where the speaker changes without a pause. Where they begin and
    end never changes, only whose they are.
    """

    start: int
    end: int
    label: str | None


class Change(msgspec.Struct, frozen=True):
    """Say whose an earlier utterance is after all; all its parts, not the changed ones alone."""

    item: int
    parts: tuple[Part, ...]


class Outcome(msgspec.Struct, frozen=True):
    """Hold whose an utterance is, in one part or more, and what that changes of earlier ones."""

    parts: tuple[Part, ...]
    changes: tuple[Change, ...]


class KeptStretch(msgspec.Struct, frozen=True):
    """Hold a stretch of the last minutes; ``points`` are float32."""

    item: int
    start: int
    end: int
    points: bytes
    speaker: int | None
    pinned: bool


class KeptVoice(msgspec.Struct, frozen=True):
    """Hold a voice; of what is older than minutes its sums: weight, float64, liveliness."""

    label: str
    named: bool
    known: tuple[float, bytes, float] | None


class DiariserState(msgspec.Struct, frozen=True, kw_only=True):
    """Hold all that a diariser knows, some 100 kB; ``size`` is that of voices, 0: none so far."""

    size: int
    offset: bytes
    recent: tuple[KeptStretch, ...]
    voices: dict[int, KeptVoice]
    numbers: tuple[int, int, int]

    def forgotten(self) -> DiariserState:
        """Return what is left after ``Diariser.forget``."""
        following, highest, _ = self.numbers
        return replace(self, recent=(), voices={}, numbers=(following, highest, highest))


def voice_windows(start: int, end: int) -> tuple[tuple[int, int], ...]:
    """Say of which windows of an utterance voices are to be described, in samples.

    Windows of 1.5 s every .75 s, the last at the end; the whole where it is not much longer than
    one, and nothing of less than .4 s.
    """
    if end - start < SHORTEST:
        return ()
    if end - start <= WINDOW + HOP // 2:
        return ((start, end),)
    count = max(1, round((end - start - WINDOW) / HOP))
    step = (end - start - WINDOW) / count
    firsts = [start + round(index * step) for index in range(count + 1)]
    return tuple((first, first + WINDOW) for first in firsts)


class _Stretch(msgspec.Struct, eq=False):
    """Keep a part of an utterance, and who it is of: pinned if a person has said so."""

    item: int
    start: int
    end: int
    points: Numbers
    evidence: Evidence | None
    speaker: int | None = None
    pinned: bool = False


class _Speaker(msgspec.Struct, eq=False):
    """Keep a voice: whose it is, and what is known of it besides the last minutes.

    Somebody who is named may have several.
    """

    label: str
    named: bool = False
    known: Evidence | None = None


class Diariser:
    """Tell the speakers of one microphone apart.

    The same utterances in the same order get the same labels. ``space_of`` says where an
    embedder's voices of a size lie; it is asked when the first is heard. Keeps two minutes of
    speech in detail, and of all before one sum a voice.
    """

    def __init__(
        self, space_of: Callable[[int], VoiceSpace], telling: Telling | None = None
    ) -> None:
        self._space_of = space_of
        self._known_space: VoiceSpace | None = None
        self.telling = telling or Telling()
        """How voices are told apart; it may be set anew."""
        self._size = 0
        self._offset: Numbers = np.zeros(1)
        self._recent: list[_Stretch] = []
        self._speakers: dict[int, _Speaker] = {}
        self._next = 0
        self._highest = self._forgotten = 0

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the labels of all speakers that are known, in the order they came."""
        return tuple(dict.fromkeys(each.label for _, each in sorted(self._speakers.items())))

    def parts_of(self, item: int) -> tuple[Part, ...]:
        """Return whose an utterance is by now; nothing where it is not remembered."""
        return tuple(self._part(each) for each in self._recent if each.item == item)

    def hear(self, heard: Spoken) -> Outcome:
        """Say whose the next utterance is, and whose earlier ones are after all.

        Raises ``ValueError`` for voices of another size than the embedder's.
        """
        self._retire(heard.end - _MEMORY)
        new = self._parted(heard)
        before = self._told()
        self._recent += new
        self._cluster()
        new = self._rejoined(new)
        parts = tuple(self._part(each) for each in new)
        return Outcome(parts, self._changes(before))

    def enroll(self, name: str, voices: Sequence[Voice]) -> None:
        """Know somebody from the start, by voices of one stretch of speech or more.

        Raises ``ValueError`` where there are none, and ``ConfigError`` where the name is taken.
        """
        if not len(voices):
            raise ValueError(f"nothing was heard of {name}")
        self._refuse_taken(name)
        points = self._points(voices)
        known = self._space.evidence(points)
        self._speakers[self._new_id()] = _Speaker(name, named=True, known=known)

    def rename(self, label: str, name: str) -> None:
        """Give a speaker a name; whoever has it already is the same person.

        Raises ``ConfigError`` where nobody has the label.
        """
        keys = self._ids(label)
        for key in keys:
            self._speakers[key].label = name
            self._speakers[key].named = True
        # Whoever is named is somebody: what is theirs is not joined with another's any more.
        for stretch in self._recent:
            stretch.pinned |= stretch.speaker in keys

    def merge(self, label: str, into: str) -> None:
        """Say that two speakers are one person, who keeps the label ``into`` and both voices.

        Raises ``ConfigError`` where nobody has one of the labels, or both are the same.
        """
        if label == into:
            raise ConfigError(f"{label} is one speaker already: name two")
        for key in self._ids(into):
            self._speakers[key].named = True
        self.rename(label, into)

    def assign(self, item: int, name: str) -> tuple[Change, ...]:
        """Say whose an utterance is, all of it; a name that nobody has is a new speaker's.

        Returns what that changes. Raises ``ConfigError`` for one that is not remembered.
        """
        chosen = [each for each in self._recent if each.item == item]
        if not chosen:
            raise ConfigError(
                f"utterance {item} is not remembered: only those of the last two minutes can be"
                " given to somebody; rename or merge speakers instead"
            )
        before = self._told()
        # A voice of its own, whatever else is hers: one that was mistaken is hardly like hers.
        key = self._new_id()
        self._speakers[key] = _Speaker(name, named=True)
        for stretch in chosen:
            stretch.speaker, stretch.pinned = key, True
        self._cluster()
        return self._changes(before)

    def forget(self) -> None:
        """Drop all voices at once; who speaks next is a stranger, with a label never used."""
        self._recent.clear()
        self._speakers.clear()
        self._forgotten = self._highest

    def snapshot(self) -> DiariserState:
        """Return all that is known, for ``restore``."""
        return DiariserState(
            size=self._size,
            offset=self._offset.tobytes(),
            recent=tuple(
                KeptStretch(
                    each.item,
                    each.start,
                    each.end,
                    each.points.astype(np.float32).tobytes(),
                    each.speaker,
                    each.pinned,
                )
                for each in self._recent
            ),
            voices={key: _kept(each) for key, each in self._speakers.items()},
            numbers=(self._next, self._highest, self._forgotten),
        )

    def restore(self, state: DiariserState) -> None:
        """Go on from a ``snapshot`` of another that is asked of the same embedder's voices."""
        self._size = state.size
        self._known_space = self._space_of(state.size) if state.size else None
        self._offset = np.frombuffer(state.offset, np.float64)
        self._recent = [self._restored(each) for each in state.recent]
        self._speakers = {key: _restored_voice(each) for key, each in state.voices.items()}
        self._next, self._highest, self._forgotten = state.numbers

    def _restored(self, kept: KeptStretch) -> _Stretch:
        points, evidence = np.zeros((0, 0)), None
        if kept.points:
            columns = len(self._space.spread) + 1
            points = np.frombuffer(kept.points, np.float32).reshape(-1, columns).astype(np.float64)
            evidence = self._space.evidence(points)
        return _Stretch(
            kept.item, kept.start, kept.end, points, evidence, kept.speaker, kept.pinned
        )

    @property
    def _space(self) -> VoiceSpace:
        assert self._known_space is not None, "asked for before any voice"
        return self._known_space

    def _points(self, voices: Sequence[Voice]) -> Numbers:
        if self._known_space is None:
            self._size = len(voices[0])
            self._known_space = self._space_of(self._size)
        # As exact as they are kept: who goes on from a snapshot finds the very same.
        return self._known_space.points(voices).astype(np.float32).astype(np.float64)

    def _parted(self, heard: Spoken) -> list[_Stretch]:
        if not heard.windows:
            return [_Stretch(heard.item, heard.start, heard.end, np.zeros((0, 0)), None)]
        points = self._points([each.voice for each in heard.windows])
        middles = [(each.start + each.end) // 2 for each in heard.windows]
        edges = [heard.start, *((a + b) // 2 for a, b in pairwise(middles)), heard.end]
        return [
            _Stretch(
                heard.item,
                edges[first],
                edges[last],
                points[first:last],
                self._space.evidence(points[first:last]),
            )
            for first, last in runs(self._space, points, self.telling.cut)
        ]

    def _rejoined(self, new: Sequence[_Stretch]) -> list[_Stretch]:
        """Join neighbours of one utterance that turned out to be one speaker's."""
        kept: list[_Stretch] = []
        for stretch in new:
            last = kept[-1] if kept else None
            if last is None or last.speaker != stretch.speaker:
                kept.append(stretch)
                continue
            last.end = stretch.end
            last.points = np.concatenate([last.points, stretch.points])
            last.evidence = self._space.evidence(last.points)
            self._recent.remove(stretch)
        return kept

    def _cluster(self) -> None:
        """Say anew whose each stretch of the last minutes is."""
        anchors = {key: each.known for key, each in self._speakers.items() if each.known}
        known = list(anchors.values())
        owners: list[int | None] = list(anchors)
        told = []
        for stretch in self._recent:
            if stretch.evidence is not None:
                told.append(stretch)
                known.append(stretch.evidence)
                owners.append(stretch.speaker if stretch.pinned else None)
        if not told:
            return
        for _ in range(2):
            labels = cluster(self._space, known, self.telling, owners, self._offset)
            self._offset = offset(self._space, known, labels)
        speakers = self._matched(labels, owners, [*(None for _ in anchors), *told])
        for stretch, label in zip(told, labels[len(anchors) :], strict=True):
            stretch.speaker = speakers.get(label)

    def _matched(
        self,
        labels: Sequence[int],
        owners: Sequence[int | None],
        stretches: Sequence[_Stretch | None],
    ) -> dict[int, int]:
        """Say which speaker each cluster is: who owns some of it, or shares most speech with it."""
        found = {
            label: owner for label, owner in zip(labels, owners, strict=True) if owner is not None
        }
        shared: Counter[tuple[int, int]] = Counter()
        spoken: Counter[int] = Counter()
        for label, stretch in zip(labels, stretches, strict=True):
            if stretch is None or label in found:
                continue
            spoken[label] += stretch.end - stretch.start
            if stretch.speaker is not None:
                shared[label, stretch.speaker] += stretch.end - stretch.start
        # The largest overlap first: with as few speakers as this, hardly ever less than the best.
        for (label, speaker), _ in sorted(shared.items(), key=lambda each: (-each[1], each[0])):
            if label not in found and speaker not in found.values():
                found[label] = speaker
        self._speakers = {
            key: each
            for key, each in self._speakers.items()
            if each.named or each.known is not None or key in found.values()
        }
        for label, length in spoken.items():
            if label not in found and length >= _FOUNDING:
                found[label] = self._found()
        return found

    def _found(self) -> int:
        key = self._new_id()
        taken = {each.label for each in self._speakers.values()}
        number = self._forgotten + 1
        while f"speaker {number}" in taken:
            number += 1
        self._highest = max(self._highest, number)
        self._speakers[key] = _Speaker(f"speaker {number}")
        return key

    def _retire(self, before: int) -> None:
        """Let what ended before a sample go; of each voice a sum is kept."""
        gone = [each for each in self._recent if each.end <= before]
        if not gone:
            return
        self._recent = [each for each in self._recent if each.end > before]
        for stretch in gone:
            if stretch.speaker is not None and stretch.evidence is not None:
                speaker = self._speakers[stretch.speaker]
                speaker.known = (
                    stretch.evidence if speaker.known is None else speaker.known + stretch.evidence
                )

    def _part(self, stretch: _Stretch) -> Part:
        speaker = stretch.speaker
        label = None if speaker is None else self._speakers[speaker].label
        return Part(stretch.start, stretch.end, label)

    def _told(self) -> dict[int, tuple[Part, ...]]:
        told: dict[int, list[Part]] = {}
        for stretch in self._recent:
            told.setdefault(stretch.item, []).append(self._part(stretch))
        return {item: tuple(parts) for item, parts in told.items()}

    def _changes(self, before: Mapping[int, tuple[Part, ...]]) -> tuple[Change, ...]:
        now = self._told()
        return tuple(
            Change(item, now[item]) for item, parts in before.items() if now[item] != parts
        )

    def _ids(self, label: str) -> list[int]:
        found = [key for key, each in self._speakers.items() if each.label == label]
        if not found:
            known = ", ".join(self.labels) or "nobody is known"
            raise ConfigError(f"nobody is called {label}: {known}")
        return found

    def _refuse_taken(self, name: str) -> None:
        if name in self.labels:
            raise ConfigError(f"{name} is known already: give another name")

    def _new_id(self) -> int:
        self._next += 1
        return self._next


def _kept(speaker: _Speaker) -> KeptVoice:
    known = speaker.known
    sums = None if known is None else (known.weight, known.total.tobytes(), known.lively)
    return KeptVoice(speaker.label, speaker.named, sums)


def _restored_voice(kept: KeptVoice) -> _Speaker:
    known = None
    if kept.known is not None:
        weight, total, lively = kept.known
        known = Evidence(weight, np.frombuffer(total, np.float64), lively)
    return _Speaker(kept.label, kept.named, known)
