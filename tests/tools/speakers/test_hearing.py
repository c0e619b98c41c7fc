"""What was heard is kept, for the embedder that said it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamser.audio.clip import Samples
from streamser.speech.diarisation import Spoken, VoiceWindow
from streamser.speech.speakers import Voice
from tests.speech.embedders import SpectralEmbedder
from tools.speakers.hearing import Kept, said_by


class Bent(SpectralEmbedder):
    """Say nearly the same, under the same name: an embedder that was changed."""

    def embed_windows(self, sound: Samples, windows: list[tuple[int, int]]) -> list[Voice]:
        """Describe windows a little differently from how sounds are described."""
        return [voice * 0.9 for voice in self.embed([sound[a:b] for a, b in windows])]


def test_what_was_heard_is_read_again(tmp_path: Path) -> None:
    """With the same voices, from a folder that was not there."""
    kept = Kept(tmp_path / "new", SpectralEmbedder())
    assert kept.read("one") is None
    voice = np.array([0.6, 0.8], np.float32)
    kept.write("one", [Spoken(3, 10, 40, (VoiceWindow(10, 40, voice),))])
    (again,) = Kept(tmp_path / "new", SpectralEmbedder()).read("one") or ()
    assert (again.item, again.start, again.end) == (3, 10, 40)
    np.testing.assert_array_equal(again.windows[0].voice, voice)


def test_what_another_embedder_said_is_not_read(tmp_path: Path) -> None:
    """Not even one of the same name, from before it was changed."""
    Kept(tmp_path, SpectralEmbedder()).write("one", [])
    assert Kept(tmp_path, SpectralEmbedder()).read("one") == ()
    assert Kept(tmp_path, Bent()).read("one") is None
    assert said_by(Bent()) != said_by(SpectralEmbedder())


def test_without_a_folder_nothing_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And nobody is asked to say anything."""
    monkeypatch.chdir(tmp_path)
    kept = Kept(None, SpectralEmbedder())
    kept.write("one", [])
    assert kept.read("one") is None
    assert list(tmp_path.iterdir()) == []
