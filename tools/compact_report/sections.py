"""The sections of the report, by their short names, in their order."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Final

from streamser.errors import ConfigError
from tools.compact_report.bench import Bench
from tools.compact_report.both import voice_and_words
from tools.compact_report.failures import failures
from tools.compact_report.groups import by_group
from tools.compact_report.live import live_path
from tools.compact_report.plain_speech import plain_speech
from tools.compact_report.proxies import dimension_proxies
from tools.compact_report.records import Section
from tools.compact_report.robustness import robustness
from tools.compact_report.skewed import skewed_streams
from tools.compact_report.voice import rules_alone, voice_alone
from tools.compact_report.words import words_alone

__all__ = ["SECTIONS", "chosen_sections"]

SECTIONS: Final[dict[str, Callable[[Bench], Section]]] = {
    "voice": voice_alone,
    "skewed": skewed_streams,
    "proxies": dimension_proxies,
    "words": words_alone,
    "both": voice_and_words,
    "robustness": robustness,
    "groups": by_group,
    "speech": plain_speech,
    "live": live_path,
    "rules": rules_alone,
    "failures": failures,
}


def chosen_sections(names: Sequence[str]) -> list[str]:
    """Return the sections asked for, in their own order; all where none is asked for.

    Raises ``ConfigError`` for a name that none has.
    """
    for name in names:
        if name not in SECTIONS:
            near = difflib.get_close_matches(name, SECTIONS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(f"no section is called {name!r}: {hint}there are {_list()}.")
    return [name for name in SECTIONS if not names or name in names]


def _list() -> str:
    return ", ".join(SECTIONS)
