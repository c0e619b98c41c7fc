"""Part the speakers of a corpus for training, validation and test."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Final, Literal

import msgspec
import msgspec.structs

from streamser.errors import ConfigError
from streamser.training.items import SPLITS, Item
from streamser.training.pairing import normalise, paired_text

__all__ = [
    "SCHEMES",
    "Fold",
    "Scheme",
    "folds",
    "leave_one_session_out",
    "leave_one_speaker_out",
    "own_splits",
    "speaker_groups",
]

Scheme = Literal["speaker", "session", "groups", "own"]
SCHEMES: Final = ("speaker", "session", "groups", "own")

Speaker = tuple[str, str]
"""A corpus and a speaker's name in it."""

_MOST: Final = 200


class Fold(msgspec.Struct, frozen=True):
    """Hold one way to part items; no speaker and no paired text is in two of the three parts.

    ``dev`` chooses the epoch, calibrates and stops the training; ``test`` is for figures only.
    """

    name: str
    train: tuple[Item, ...]
    dev: tuple[Item, ...]
    test: tuple[Item, ...]

    def as_splits(self) -> list[Item]:
        """Return all items with the part that they are in as their ``split``.

        For what goes by the split: ``write_manifest``, and ``pairing.pair``, which must be done
        anew in each fold, lest the same text be in two parts.
        """
        return [
            msgspec.structs.replace(item, split=split)
            for split, part in zip(SPLITS, (self.train, self.dev, self.test), strict=True)
            for item in part
        ]


def folds(items: Sequence[Item], scheme: Scheme, *, k: int = 10, seed: int = 0) -> list[Fold]:
    """Make the folds of a scheme; ``k`` and ``seed`` are for ``groups`` alone.

    Raises ``ConfigError`` where the items cannot be parted so: see each scheme, and ``Fold``. What
    was paired has to keep its ``own`` splits, for the same text goes with several voices.
    """
    if scheme == "speaker":
        return leave_one_speaker_out(items)
    if scheme == "session":
        return leave_one_session_out(items)
    if scheme == "groups":
        return speaker_groups(items, k, seed)
    return own_splits(items)


def leave_one_speaker_out(items: Sequence[Item]) -> list[Fold]:
    """Test on each speaker in turn, named as the fold: IEMOCAP's ten folds, 8/1/1.

    Where the test speaker has one partner in the session, the partner is dev, as is common for
    IEMOCAP (Antoniou et al., arXiv 2304.00860): both halves of a dialogue are then out of
    training, whose words answer each other and where each microphone hears both. The price: dev
    shares its dialogues and its room with test, so an epoch chosen on dev is a little too well
    chosen for test. Otherwise dev is the next speaker by name, the first after the last.

    Raises ``ConfigError`` with fewer than three speakers, and with more than 200, for whom
    nobody would wait (words alone are a speaker each).
    """
    speakers = _speakers(items)
    if len(speakers) > _MOST:
        raise ConfigError(
            f"leaving out each of {len(speakers)} speakers would be as many folds; "
            "take groups of speakers, or the manifest's own splits."
        )
    if len(speakers) < 3:
        raise ConfigError(
            f"{len(speakers)} speakers are too few to leave one out: one each to train, "
            "for dev and to test."
        )
    sessions = _speakers_of_sessions(items)
    made = []
    for place, test in enumerate(speakers):
        partners = [
            other
            for members in sessions.values()
            if len(members) == 2 and test in members
            for other in members - {test}
        ]
        following = speakers[(place + 1) % len(speakers)]
        dev = partners[0] if len(set(partners)) == 1 else following
        made.append(_fold(_name(test, speakers), items, {dev}, {test}))
    return made


def leave_one_session_out(items: Sequence[Item]) -> list[Fold]:
    """Test on the speakers of each session in turn: IEMOCAP's five folds, 6/2/2 speakers.

    Dev is the whole next session, the first after the last, so that no dialogue is in two parts.
    (Papers with five folds often take dev from the training sessions, or from test.)

    Raises ``ConfigError`` for items without a session, for speakers in two sessions and with
    fewer than three sessions.
    """
    sessions = _speakers_of_sessions(items)
    nameless = sum(not item.session for item in items)
    if nameless:
        raise ConfigError(f"{nameless} of {len(items)} utterances have no session.")
    if len(sessions) < 3:
        raise ConfigError(f"{len(sessions)} sessions are too few to leave one out; 3 are needed.")
    home: dict[Speaker, tuple[str, str]] = {}
    for session, members in sessions.items():
        for speaker in members:
            first = home.setdefault(speaker, session)
            if first != session:
                raise ConfigError(
                    f"speaker {speaker[1]!r} is in sessions {first[1]!r} and {session[1]!r}; "
                    "sessions that share a speaker cannot be left out one by one."
                )
    names = sorted(sessions)
    return [
        _fold(_name(name, names), items, sessions[names[(place + 1) % len(names)]], sessions[name])
        for place, name in enumerate(names)
    ]


def speaker_groups(items: Sequence[Item], k: int, seed: int) -> list[Fold]:
    """Deal the speakers, in a seeded order, into ``k`` groups; test on each, dev is the next.

    Raises ``ConfigError`` for fewer than three groups or fewer speakers than groups.
    """
    speakers = _speakers(items)
    if k < 3:
        raise ConfigError(f"{k} groups of speakers are too few: 3 at least, for train, dev, test.")
    if len(speakers) < k:
        raise ConfigError(f"{len(speakers)} speakers do not fill {k} groups; take fewer groups.")
    random.Random(seed).shuffle(speakers)
    groups = [speakers[start::k] for start in range(k)]
    return [
        _fold(f"group{place + 1}", items, groups[(place + 1) % k], groups[place])
        for place in range(k)
    ]


def own_splits(items: Sequence[Item]) -> list[Fold]:
    """Return the single fold that the items' own splits make; items without one are in no part.

    Raises ``ConfigError`` for an empty part, and for a speaker in two.
    """
    parts = {split: tuple(item for item in items if item.split == split) for split in SPLITS}
    empty = [split for split, part in parts.items() if not part]
    if empty:
        raise ConfigError(f"no utterance has the split {' or '.join(empty)}.")
    return [_checked(Fold("own", parts["train"], parts["dev"], parts["test"]))]


def _fold(
    name: str, items: Sequence[Item], dev: Collection[Speaker], test: Collection[Speaker]
) -> Fold:
    held = {*dev, *test}
    return _checked(
        Fold(
            name,
            tuple(item for item in items if _speaker(item) not in held),
            tuple(item for item in items if _speaker(item) in dev),
            tuple(item for item in items if _speaker(item) in test),
        )
    )


def _checked(fold: Fold) -> Fold:
    """Refuse a fold in which a speaker is in two parts: the promise of this module.

    So too with a text that was paired with voices of two parts: the words would tell the label.
    """
    _check_texts(fold)
    seen: dict[Speaker, str] = {}
    for split, part in zip(SPLITS, (fold.train, fold.dev, fold.test), strict=True):
        for speaker in {_speaker(item) for item in part}:
            if seen.setdefault(speaker, split) != split:
                raise ConfigError(
                    f"fold {fold.name}: speaker {speaker[1]!r} of {speaker[0]} is in "
                    f"{seen[speaker]} and in {split}; a speaker in two parts is leakage."
                )
    return fold


def _check_texts(fold: Fold) -> None:
    # Corpora with fixed sentences share these between all speakers, and may: only paired ones tell.
    seen: dict[tuple[str, str], str] = {}
    for split, part in zip(SPLITS, (fold.train, fold.dev, fold.test), strict=True):
        for item in part:
            name = paired_text(item)
            if name is None or not item.text:
                continue
            first = seen.setdefault((name, normalise(item.text)), split)
            if first != split:
                raise ConfigError(
                    f"fold {fold.name}: the text {name!r} was paired with voices that are in "
                    f"{first} and in {split}, which is leakage; keep the splits that it was "
                    "paired in (the manifest's own)."
                )


def _speaker(item: Item) -> Speaker:
    return item.corpus, item.speaker


def _speakers(items: Sequence[Item]) -> list[Speaker]:
    return sorted({_speaker(item) for item in items})


def _speakers_of_sessions(items: Sequence[Item]) -> dict[tuple[str, str], set[Speaker]]:
    sessions: dict[tuple[str, str], set[Speaker]] = defaultdict(set)
    for item in items:
        if item.session:
            sessions[item.corpus, item.session].add(_speaker(item))
    return sessions


def _name(key: tuple[str, str], keys: Sequence[tuple[str, str]]) -> str:
    """Name a fold by its speaker or session, and by its corpus if there are several."""
    return key[1] if len({corpus for corpus, _ in keys}) == 1 else "-".join(key)
