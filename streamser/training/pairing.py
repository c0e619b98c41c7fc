"""Join voices and words that were never said together, by what both express."""

from __future__ import annotations

import hashlib
import random
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import msgspec.structs

from streamser.errors import ConfigError
from streamser.training.items import SPLITS, Item, Split

__all__ = ["normalise", "pair", "paired_text"]

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
        pairs.extend(_joined(voice, text) for text in draws[key].take(repeats))
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

    def take(self, count: int) -> list[Item]:
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
