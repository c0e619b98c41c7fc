"""Part the speakers of a corpus for training, validation and test; pair voices with words."""

from __future__ import annotations

import hashlib
import random
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Final, Literal

import msgspec
import msgspec.structs

from streamser.errors import ConfigError
from streamser.training.manifest import SPLITS, Item, Split

Scheme = Literal["speaker", "session", "groups", "own"]

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

        For what goes by the split: ``write_manifest``, and ``pair``, which must be done
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


_JOINT: Final = "+"
_TEST_SHARE: Final = 0.2
_DEV_SHARE: Final = 0.1


def pair(
    voices: Sequence[Item], words: Sequence[Item], *, seed: int, repeats: int = 1
) -> list[Item]:
    """Give every voice that has a category ``repeats`` texts of the same category and split.

    The rule: texts are drawn in a seeded order without replacement; only when the texts of a
    category and split are used up are they drawn again. No voice gets a text twice. Texts are
    the same if they are after ``normalise``; a text that comes with two categories, or without
    one, is not used. Each text belongs to one split: that of its corpus (test before dev before
    train, where it is in several), or, in a corpus without splits, one by a seeded hash of the
    text (20 % test, 10 % dev). So neither a speaker nor a text is in two splits. The result does
    not depend on the order of either list.

    A pair has the id ``voice+text``, the words of the text, and all else of the voice: corpus,
    speaker, session, split, sound, votes, dimensions.

    What this makes too easy: words and voice always agree, where people are ironic, restrained
    or say plain things with feeling; given the category the two are independent, so each is
    evidence that the other cannot explain away; and there is no interplay of wording and
    prosody (stress, timing), which a cross-attention could find in real speech. A gain of fusion
    over one modality here is the gain of two independent witnesses, no more. Report the voice
    alone and the words alone beside it.

    Raises ``ConfigError`` for voices without a split, and where there are no texts, or fewer
    than ``repeats``, of a category and split.
    """
    pools = _pools(words, seed)
    pairs: list[Item] = []
    labelled = sorted((item for item in voices if item.category), key=lambda item: item.id)
    if not labelled:
        raise ConfigError("no voice has a category; there is nothing to pair.")
    draws: dict[tuple[Split, str], _Draws] = {}
    for voice in labelled:
        if not voice.split:
            raise ConfigError(
                f"voice {voice.id!r} has no split; words are paired within splits, so that no "
                "text is in two of them."
            )
        key = (voice.split, str(voice.category))
        if len(pools.get(key, ())) < repeats:
            raise ConfigError(
                f"{len(pools.get(key, ()))} texts are {key[1]} and in {key[0]}, "
                f"{repeats} are needed; give more words or fewer repeats."
            )
        if key not in draws:
            draws[key] = _Draws(pools[key], random.Random(f"{seed} {key[0]} {key[1]}"))
        pairs.extend(_joined(voice, text) for text in draws[key].draw(repeats))
    return pairs


def normalise(text: str) -> str:
    """Reduce a text to lower-case letters and digits, one space between words."""
    whole = unicodedata.normalize("NFKC", text).casefold()
    joined = whole.replace("'", "").replace("\u2019", "")
    return " ".join("".join(sign if sign.isalnum() else " " for sign in joined).split())


def paired_text(item: Item) -> str | None:
    """Return the id of the text that a pair has got its words from; ``None`` for what is no pair.

    It is told by the id: ``voice+text``.
    """
    _, joint, text = item.id.rpartition(_JOINT)
    return text if joint else None


def _pools(words: Sequence[Item], seed: int) -> dict[tuple[Split, str], list[Item]]:
    """Sort the usable texts by split and category; each text is in one list, once."""
    said: dict[str, list[Item]] = defaultdict(list)
    for item in words:
        if item.text and item.category:
            said[normalise(item.text)].append(item)
    said.pop("", None)
    pools: dict[tuple[Split, str], list[Item]] = defaultdict(list)
    for text, items in said.items():
        categories = {str(item.category) for item in items}
        if len(categories) == 1:
            splits = {item.split for item in items}
            own = next((split for split in reversed(SPLITS) if split in splits), None)
            chosen = min(items, key=lambda item: (item.split != own, item.id))
            pools[own or _hashed_split(text, seed), categories.pop()].append(chosen)
    for pool in pools.values():
        pool.sort(key=lambda item: item.id)
    return pools


def _hashed_split(text: str, seed: int) -> Split:
    digest = hashlib.sha256(f"{seed} {text}".encode()).digest()
    place = int.from_bytes(digest[:8]) / 2**64
    if place < _TEST_SHARE:
        return "test"
    return "dev" if place < _TEST_SHARE + _DEV_SHARE else "train"


class _Draws:
    """Deal the texts of a pool in a seeded order, each as often as any other, give or take one."""

    def __init__(self, pool: Sequence[Item], order: random.Random) -> None:
        self._pool = pool
        self._order = order
        self._left: list[Item] = []

    def draw(self, count: int) -> list[Item]:
        """Take different texts; the pool holds at least as many."""
        taken: list[Item] = []
        while len(taken) < count:
            # Where the last of one round and the first of the next are the same, it waits.
            place = next((i for i, text in enumerate(self._left) if text not in taken), None)
            if place is None:
                self._left += self._order.sample(self._pool, len(self._pool))
            else:
                taken.append(self._left.pop(place))
        return taken


def _joined(voice: Item, text: Item) -> Item:
    return msgspec.structs.replace(
        voice,
        id=f"{voice.id}{_JOINT}{text.id}",
        text=text.text,
        text_asr=text.text_asr,
    )
