from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamser.audio.clip import SAMPLE_RATE
from tools.bench_peers.conversation import Conversation, Utterance
from tools.bench_peers.errors import BenchError
from tools.bench_peers.offline import Offline, analyzed, errors_in


def conversation() -> Conversation:
    """Say two words in a second of silence."""
    pcm = np.zeros(SAMPLE_RATE, "<i2").tobytes()
    return Conversation(pcm, (Utterance("clip", 0.1, 0.9, ("good", "morning")),), 0.0)


def test_words_are_counted_file_by_file() -> None:
    """Rows of another file are none of its words; its own come together."""
    table = 'file,start,transcript\na,0.1,Good\nb,0.1,evening\na,0.5,"morning, all"\n'
    assert errors_in(table, "a", conversation()) == 1
    assert errors_in(table, "b", conversation()) == 2


def test_the_rate_is_that_of_the_first_streams() -> None:
    """Fewer streams are a part of more; more than were read have no rate."""
    offline = Offline(errors=(1, 3), said=(10, 10), times_real=6.0)
    assert (offline.wer(1), offline.wer(2), offline.wer(3)) == (0.1, 0.2, None)


def test_files_are_read_with_the_servers_settings(tmp_path: Path) -> None:
    """Without a recogniser every word is missing; settings that are none cost one line."""
    found = analyzed([conversation()], "--asr none --model rules")
    assert (found.errors, found.said) == ((2,), (2,))
    with pytest.raises(BenchError, match=r"streamser analyze: .*nothing-of-the-kind"):
        analyzed([conversation()], "--config nothing-of-the-kind")
