"""Which voices are one speaker's: spaces of voices, and clusters in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamser.errors import ModelError
from streamser.speech.clustering import Telling, cluster, plain_space, read_space, runs
from streamser.speech.speakers import BUNDLED, space_of

SPACE = plain_space(64, 0.6)


def voices(person: int, count: int) -> list[np.ndarray]:
    """Return unit vectors that scatter around one direction."""
    rng = np.random.default_rng([person, 7])
    own = rng.standard_normal(64)
    found = own + 0.8 * rng.standard_normal((count, 64))
    return list(found / np.linalg.norm(found, axis=1, keepdims=True))


def test_evidence_adds_up_in_any_order() -> None:
    """Clusters are found whatever order their pieces come in."""
    pieces = [SPACE.evidence(SPACE.points(voices(person, 3))) for person in (0, 1, 0, 2, 1)]
    labels = cluster(SPACE, pieces, Telling())
    turned = cluster(SPACE, pieces[::-1], Telling())[::-1]
    for found in (labels, turned):
        assert [found.index(label) for label in found] == [0, 1, 0, 3, 1]


def test_where_the_middle_of_all_people_lies_makes_no_difference_once_it_is_told() -> None:
    """Ten pieces of three people whom a room moves far away are told apart as without the room."""
    said = [SPACE.points(voices(person, 3)) for person in (0, 1, 2, 0, 1, 2, 0, 0, 1, 2)]
    room = 2.0 * SPACE.points(voices(9, 1))[0][:-1]
    moved = [SPACE.evidence(points + np.append(room, 0.0)) for points in said]
    here = cluster(SPACE, [SPACE.evidence(points) for points in said], Telling())
    assert len(set(here)) == 3
    assert cluster(SPACE, moved, Telling(), middle=room) == here
    assert cluster(SPACE, moved, Telling()) != here


def test_whose_speaker_is_known_stays_theirs() -> None:
    """Two whom somebody told apart are never joined, and what is theirs is, however unlike."""
    same = [SPACE.evidence(SPACE.points(voices(0, 3))) for _ in range(2)]
    assert len(set(cluster(SPACE, same, Telling(most=1), [1, 2]))) == 2
    other = [SPACE.evidence(SPACE.points(voices(person, 3))) for person in (0, 1)]
    assert len(set(cluster(SPACE, other, Telling(), [1, 1]))) == 1


def test_an_utterance_is_parted_where_the_voice_changes() -> None:
    """And nowhere else."""
    points = SPACE.points([*voices(0, 4), *voices(1, 5), *voices(2, 3)])
    assert runs(SPACE, points, 0.0) == [(0, 4), (4, 9), (9, 12)]
    assert runs(SPACE, SPACE.points(voices(0, 1)), 0.0) == [(0, 1)]


def test_a_moods_share_keeps_long_speech_from_being_too_sure() -> None:
    """Two moods of one person, each heard for long, are two people where nothing is left open."""
    calm = SPACE.points(voices(0, 40))
    moved = calm + np.append(0.9 * SPACE.points(voices(5, 1))[0][:-1], 0.0)
    pieces = [
        SPACE.evidence(part[first : first + 4])
        for part in (calm, moved)
        for first in range(0, 40, 4)
    ]
    counts = []
    for moods in (0.0, 1.0):
        space = plain_space(64, 0.6)
        space = type(space)(space.mean, space.directions, space.spread, space.lively, moods=moods)
        counts.append(len(set(cluster(space, pieces, Telling()))))
    assert counts == [2, 1]


@pytest.mark.parametrize("people", [1, 2])
def test_a_voice_that_shouts_once_is_no_person_of_its_own(people: int) -> None:
    """Three windows far from all that was heard of somebody are theirs still; two stay two."""
    heard = [SPACE.points(voices(person, 40)) for person in range(people)]
    shouted = heard[0][:3] + np.append(0.9 * SPACE.points(voices(5, 1))[0][:-1], 0.0)
    pieces = [
        SPACE.evidence(part)
        for part in (*(each[n : n + 4] for each in heard for n in range(0, 40, 4)), shouted)
    ]
    labels = cluster(SPACE, pieces, Telling())
    assert len(set(labels)) == people
    assert labels[-1] == labels[0]
    # What it takes: without either, by sums of evidence alone, it was one too many.
    alone = cluster(SPACE, pieces, Telling(pieces=0.0, brief=0.0))
    assert len(set(alone)) == people + 1


def test_who_was_hardly_heard_becomes_somebody_by_saying_more() -> None:
    """What is too brief to be a person is one when there is enough of it."""
    known = [SPACE.points(voices(0, 40))[n : n + 4] for n in range(0, 40, 4)]
    shouted = SPACE.points(voices(0, 40)) + np.append(0.9 * SPACE.points(voices(5, 1))[0][:-1], 0.0)
    counts = [
        len(set(cluster(SPACE, [SPACE.evidence(each) for each in (*known, *more)], Telling())))
        for more in ([shouted[:3]], [shouted[n : n + 4] for n in range(0, 40, 4)])
    ]
    assert counts == [1, 2]


def test_voices_of_another_size_are_refused() -> None:
    """As after a change of the embedder."""
    with pytest.raises(ValueError, match="voices of 64 numbers, not of 32"):
        SPACE.points([np.ones(32)])
    with pytest.raises(ValueError, match="between 0 and 1"):
        plain_space(64, 1.0)


def test_the_bundled_embedder_has_a_space_of_its_own() -> None:
    """Others have the plain one, of whatever size their voices are."""
    bundled = space_of(BUNDLED, 0.6)(192)
    assert bundled.directions.shape[0] == len(bundled.lively) == 192
    assert (bundled.spread > 0).all()
    assert len(space_of("my:embedder", 0.6)(32).mean) == 32


def test_a_damaged_space_is_refused(tmp_path: Path) -> None:
    """In one line that names the file."""
    for name, content in (("none.npz", None), ("rubbish.npz", b"PK\x03\x04rubbish")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match=f"{name} holds no space of voices"):
            read_space(tmp_path / name)
    np.savez(tmp_path / "odd.npz", mean=np.ones(3), directions=np.ones((2, 1)))
    with pytest.raises(ModelError, match="holds no space"):
        read_space(tmp_path / "odd.npz")
