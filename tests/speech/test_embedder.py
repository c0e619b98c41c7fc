"""Embedders that others bring: found by name, or refused in one line."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamser.audio.clip import Samples
from streamser.errors import ConfigError, ModelError, StreamserError
from streamser.speech.speakers import GuardedEmbedder, load_embedder

HERE = "tests.speech.embedders"
SOUND = np.full(16_000, 0.1, np.float32)


class Scripted:
    """Give what was prepared for sounds of a length; raise what is an error."""

    name = "scripted"

    def __init__(self, answers: dict[int, Any]) -> None:
        self._answers = answers
        self.batches: list[int] = []

    def embed(self, batch: Sequence[Samples]) -> list[Any]:
        self.batches.append(len(batch))
        found = [self._answers[len(sound)] for sound in batch]
        for answer in found:
            if isinstance(answer, Exception):
                raise answer
        return found


def sounds(*lengths: int) -> list[Samples]:
    """Make silence of some lengths."""
    return [np.zeros(length, np.float32) for length in lengths]


def test_an_embedder_is_made_by_the_factory_that_is_named() -> None:
    """A class is one."""
    embedder = load_embedder(f"{HERE}:SpectralEmbedder")
    assert embedder.name == "spectral"
    assert len(embedder.embed([SOUND])) == 1


@pytest.mark.parametrize(
    ("place", "error", "line"),
    [
        ("", ConfigError, "'' names no embedder: write campplus, or module:factory"),
        ("titanet", ConfigError, "'titanet' names no embedder: write campplus, or module:factory"),
        (f"{HERE}:", ConfigError, "names no embedder"),
        (":make", ConfigError, "names no embedder"),
        ("a/b.py:make", ConfigError, "names no embedder"),
        ("no_such_voices:make", ConfigError, "there is no module no_such_voices: install it"),
        (f"{HERE}.deeper:make", ConfigError, f"there is no module {HERE}.deeper"),
        (f"{HERE}:make_it", ConfigError, f"the module {HERE} has no make_it: name a function"),
        (f"{HERE}:no_factory", ConfigError, "has a no_factory that cannot be called"),
        (f"{HERE}:make_nothing", ConfigError, "make_nothing makes (object) lacks the name"),
        (f"{HERE}:fail", ModelError, "fails to make an embedder (OSError: no weights)"),
    ],
)
def test_what_names_no_embedder_is_refused_in_one_line(
    place: str, error: type[StreamserError], line: str
) -> None:
    """It names the setting, what is wrong, and how to do without."""
    with pytest.raises(error) as caught:
        load_embedder(place)
    assert str(caught.value).startswith("speakers.embedder: ")
    assert line in str(caught.value)
    assert "or set speakers.told_apart to off" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_library_of_voices", "No module named 'no_such_library_of_voices'"),
        ("raise RuntimeError('it wants a GPU')", "RuntimeError: it wants a GPU"),
        ("def broken(:", "SyntaxError"),
    ],
)
def test_a_module_that_cannot_be_imported_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    """What it lacks is not taken for the module itself."""
    (tmp_path / "voices_of_mine.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match="module voices_of_mine cannot be imported") as caught:
        load_embedder("voices_of_mine:make")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_batch_that_fails_is_tried_one_by_one_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whom a voice is taken for must not depend on its neighbours in the batch."""
    script = Scripted({1: [1.0, 0.0], 2: RuntimeError("too short\nfor me"), 3: [0.0, 1.0]})
    guarded = GuardedEmbedder(script)
    with caplog.at_level(logging.WARNING):
        first, bad, other, none = guarded.embed(sounds(1, 2, 3, 2))
    assert first is not None
    assert other is not None
    assert (list(first), bad, list(other), none) == ([1.0, 0.0], None, [0.0, 1.0], None)
    assert [record.getMessage() for record in caplog.records] == [
        "scripted failed on a batch of 4 (RuntimeError: too short)"
    ]
    assert script.batches == [4, 1, 1, 1, 1]
    assert guarded.embed(sounds(2)) == [None]
    assert script.batches[5:] == [1]


def test_windows_of_several_sounds_are_one_batch_to_whoever_knows_no_windows() -> None:
    """Each is cut out of its sound."""
    script = Scripted({1: [1.0, 0.0], 2: [0.0, 1.0]})
    one, other = sounds(9, 5)
    found = GuardedEmbedder(script).embed_windows([(one, [(0, 1), (7, 9)]), (other, [(4, 5)])])
    assert [None if each is None else list(each) for each in found] == [
        [1.0, 0.0],
        [0.0, 1.0],
        [1.0, 0.0],
    ]
    assert script.batches == [3]


def test_a_sound_whose_windows_fail_together_costs_no_other_sound_anything(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its windows are described one by one; what others have heard in a pass stays."""

    class Together(Scripted):
        def embed_windows(self, sound: Samples, windows: Sequence[tuple[int, int]]) -> list[Any]:
            if len(sound) == 9:
                raise RuntimeError("silence in it")
            return [[0.6, 0.8] for _ in windows]

    guarded = GuardedEmbedder(Together({1: [1.0, 0.0], 2: RuntimeError("silence")}))
    bad, good = sounds(9, 5)
    with caplog.at_level(logging.WARNING):
        found = guarded.embed_windows([(bad, [(0, 1), (7, 9)]), (good, []), (good, [(0, 5)])])
    assert found[1] is None
    assert [list(each) for each in found if each is not None] == [
        pytest.approx([1.0, 0.0]),
        pytest.approx([0.6, 0.8]),
    ]
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "vector",
    [[0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0], [], 3.0, [[1.0, 2.0]], [1.0, 2.0, 3.0], "a", {}],
    ids=str,
)
def test_what_is_no_voice_is_not_let_through(vector: object) -> None:
    """Zero, no numbers, another shape, another size than before."""
    guarded = GuardedEmbedder(Scripted({1: [1.0, 0.0], 2: vector}))
    assert guarded.embed(sounds(1))[0] is not None
    assert guarded.embed(sounds(2)) == [None]
    with pytest.raises(ModelError, match=r"scripted cannot describe a voice \(.*\): see to"):
        guarded.try_out(sounds(2)[0])


def test_an_embedder_that_miscounts_gives_nobody_anothers_voice() -> None:
    """It is asked again for each, as nobody knows whose vector is missing."""

    class Miscounting(Scripted):
        def embed(self, batch: Sequence[Samples]) -> list[Any]:
            return super().embed(batch)[:1]

    found = GuardedEmbedder(Miscounting({1: [1.0, 0.0], 2: [0.0, 1.0]})).embed(sounds(1, 2))
    assert [None if voice is None else list(voice) for voice in found] == [[1.0, 0.0], [0.0, 1.0]]


def test_a_voice_does_not_change_with_the_memory_it_was_made_in() -> None:
    """Embedders may use theirs again."""
    memory = np.array([1.0, 0.0], np.float32)
    (voice,) = GuardedEmbedder(Scripted({1: memory})).embed(sounds(1))
    memory[:] = 0.0
    assert voice is not None
    assert list(voice) == [1.0, 0.0]
