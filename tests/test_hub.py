"""Where the hub's cache has what, and in which revision."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamser.hub import cached_snapshot, revision_of, snapshot_revision, split_revision

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("owner/name", ("owner/name", None)),
        ("owner/name@v1.0", ("owner/name", "v1.0")),
        (f"tiny.en@{COMMIT}", ("tiny.en", COMMIT)),
        ("owner/name@refs/pr/1", ("owner/name", "refs/pr/1")),
        ("owner/name@", ("owner/name@", None)),
        ("@v1", ("@v1", None)),
        ("owner/name@../../elsewhere", ("owner/name@../../elsewhere", None)),
        ("owner/name@/etc", ("owner/name@/etc", None)),
    ],
)
def test_a_name_may_say_which_revision_is_meant(name: str, parts: tuple[str, str | None]) -> None:
    """None leads out of the cache."""
    assert split_revision(name) == parts


def test_the_revision_asked_for_is_found_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit by itself, a tag or branch by what the cache knows of it."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    cached = tmp_path / "models--owner--name"
    (cached / "snapshots" / COMMIT).mkdir(parents=True)
    assert cached_snapshot("owner/name") is None
    assert cached_snapshot("owner/name", COMMIT) == cached / "snapshots" / COMMIT
    (cached / "refs").mkdir()
    for ref in ("main", "v1"):
        (cached / "refs" / ref).write_text(COMMIT)
    assert snapshot_revision("owner/name") == COMMIT
    assert cached_snapshot("owner/name", "v1") == cached_snapshot("owner/name")
    assert cached_snapshot("owner/name", "v2") is None
    assert cached_snapshot("owner/name", COMMIT[:12]) is None


def test_a_directory_of_the_cache_says_its_revision(tmp_path: Path) -> None:
    """Any other has none."""
    assert revision_of(tmp_path / "snapshots" / COMMIT) == COMMIT
    assert revision_of(tmp_path / "model") is None
