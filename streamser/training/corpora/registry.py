"""The corpora that can be read, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from streamser.errors import ConfigError
from streamser.training.corpora import (
    cremad,
    emobank,
    emodb,
    goemotions,
    iemocap,
    meld,
    msp_podcast,
    ravdess,
    table,
    xed,
)
from streamser.training.items import Item

__all__ = ["READERS", "read_corpus"]

READERS: Final[Mapping[str, Callable[..., list[Item]]]] = MappingProxyType(
    {
        "iemocap": iemocap.read,
        "msp-podcast": msp_podcast.read,
        "cremad": cremad.read,
        "ravdess": ravdess.read,
        "emodb": emodb.read,
        "meld": meld.read,
        "emobank": emobank.read,
        "goemotions": goemotions.read,
        "xed": xed.read,
        "csv": table.read,
    }
)


def read_corpus(name: str, root: Path, **options: Any) -> list[Item]:
    """Read a corpus by its name; ``options`` are those of its reader.

    Raises ``ConfigError`` for an unknown corpus, and as its reader does.
    """
    if name not in READERS:
        raise ConfigError(f"there is no reader for {name!r}; there are {', '.join(READERS)}.")
    if not root.exists():
        raise ConfigError(f"{root} does not exist; name your own copy of the corpus.")
    return READERS[name](root, **options)
