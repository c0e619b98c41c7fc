"""Thresholds are set by many people, none of whom is told apart by what they taught."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tools.speakers.actors import actor_cells, half_space, halves, main
from tools.speakers.space import Heard


def heard(people: int) -> Heard:
    """Return made voices of some people, four of each in two sounds."""
    rng = np.random.default_rng(1)
    who = np.repeat([f"{number:04}" for number in range(people)], 8)
    voices = np.repeat(rng.standard_normal((people, 100)), 8, axis=0)
    voices += 0.3 * rng.standard_normal(voices.shape)
    arousal = np.tile(np.linspace(0.0, 1.0, 8), people)
    return Heard(voices.astype(np.float32), who, np.tile(["clean", "room"], people * 4), arousal)


def test_whoever_meets_taught_nothing() -> None:
    """The space of a half is the one that would be learnt had its people never spoken."""
    all_of_them = heard(12)
    first, second = halves(all_of_them)
    assert not first & second
    assert len(first | second) == 12
    without = ~np.isin(all_of_them.people, sorted(first))
    voices, people, sounds, arousal = all_of_them
    rest = Heard(voices[without], people[without], sounds[without], arousal[without])
    assert np.allclose(half_space(all_of_them, first).spread, half_space(rest, frozenset()).spread)
    assert not np.allclose(
        half_space(all_of_them, first).mean, half_space(all_of_them, second).mean
    )


def test_both_halves_meet_calm_and_moved_clean_and_in_a_room() -> None:
    """Two to four people, as where people judge."""
    cells = actor_cells()
    assert len({(c.corpus, c.people, c.emotions, c.noisy) for c in cells}) == len(cells) == 24
    assert {c.people for c in cells} == {2, 3, 4}


def test_what_was_not_kept_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line that names the file and how it is made."""
    command = ["--data", str(tmp_path), "--heard", str(tmp_path / "none.npz"), "--keep"]
    assert main([*command, str(tmp_path)]) == 1
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0
    assert "none.npz is no file of tools.speakers.space --keep" in said
