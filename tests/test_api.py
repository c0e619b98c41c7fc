from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

import streamser
from streamser.audio.array import ArraySource, as_frames
from streamser.audio.clip import Samples
from streamser.errors import AudioError, ConfigError
from streamser.events import SessionCreated
from tests.server.serving import serving

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "streamser" / "assets" / "demo.flac"
SNIPPETS = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "library.md").read_text(encoding="utf-8"), re.S
)


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording of some seconds with two utterances in it."""
    sound, rate = soundfile.read(DEMO, dtype="float32", stop=9 * 16_000)
    path = tmp_path_factory.mktemp("talk") / "talk.flac"
    soundfile.write(path, sound, rate)
    return path


@pytest.fixture(scope="module")
def recognize() -> Iterator[streamser.Recognizer]:
    """Yield a recognizer of voices alone."""
    with streamser.Recognizer(asr="none", tell=lambda line: None) as made:
        yield made


def sound_of(path: Path) -> tuple[Samples, int]:
    """Return the sound of a file of one channel, and its rate."""
    sound, rate = soundfile.read(path, dtype="float32")
    return sound, rate


def test_a_recording_becomes_utterances(talk: Path, recognize: streamser.Recognizer) -> None:
    """Typed ones, in the order in which they were said, with the file that they are from."""
    first, second = recognize(talk)
    assert 0 <= first.start < first.end <= second.start < second.end <= 9.1
    assert first.file == str(talk)
    assert first.label in {"neutral", "happy", "sad", "angry", "unsure"}
    assert first.score == max(first.scores.values())
    assert sum(first.scores.values()) == pytest.approx(1, abs=1e-3)
    assert first.valence is not None
    assert -1 <= first.valence <= 1
    assert (first.text, first.fault) == ("", None)


def test_an_array_sounds_as_its_file_does(talk: Path, recognize: streamser.Recognizer) -> None:
    """In floats and in integers, of one channel and of two alike."""
    sound, rate = sound_of(talk)
    of_file = [(each.start_ms, each.end_ms, each.emotion) for each in recognize(talk)]
    integers = np.round(sound * 32768).astype(np.int16)
    for array in (sound, integers, np.stack([sound, sound], axis=1)):
        told = recognize(array, sampling_rate=rate)
        assert [(each.start_ms, each.end_ms, each.emotion) for each in told] == of_file


def test_several_recordings_become_one_list_and_a_table(
    talk: Path, recognize: streamser.Recognizer
) -> None:
    """Its index is that of audformat: file, start, end."""
    pandas = pytest.importorskip("pandas")
    sound, rate = sound_of(talk)
    told = recognize([talk, sound], sampling_rate=rate)
    table = told.to_frame()
    assert table.index.names == ["file", "start", "end"]
    assert list(table.index.get_level_values("file")) == [str(talk)] * 2 + ["1"] * 2
    assert table.index[0][1] == pandas.Timedelta(told[0].start_ms, unit="ms")
    assert table["label"].tolist() == [each.label for each in told]
    assert table["score_happy"].tolist() == [each.scores["happy"] for each in told]


def test_a_table_without_pandas_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, as Python says that a module is missing."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'streamser\[notebook\]'"):
        streamser.Utterances().to_frame()


def test_what_is_no_sound_is_refused_in_one_line(recognize: streamser.Recognizer) -> None:
    """With what to give instead."""
    silence = np.zeros((2, 16_000), np.float32)
    with pytest.raises(ConfigError, match="sampling_rate"):
        recognize(silence)
    with pytest.raises(AudioError, match=r"transpose \(\.T\)"):
        recognize(silence, sampling_rate=16_000)
    with pytest.raises(ConfigError, match="int is no sound: give"):
        recognize(7)  # type: ignore[arg-type]
    with pytest.raises(AudioError, match="complex"):
        as_frames(silence.astype(complex))
    with pytest.raises(AudioError, match="nowhere"):
        recognize("nowhere.wav")


def test_a_setting_that_there_is_not_is_refused_with_the_nearest() -> None:
    """Keywords are settings; two underscores stand for the dot."""
    with pytest.raises(ConfigError, match=r"did you mean 'endpointing\.silence_ms'"):
        streamser.Recognizer(endpointing__silence=400)
    made = streamser.Recognizer(endpointing__silence_ms=400, model="rules")
    assert made.settings.endpointing.silence_ms == 400
    assert made.settings.emotion.model == "rules"


def test_live_sound_becomes_utterances_as_they_end(talk: Path) -> None:
    """From arrays as they come; the events are there as well."""
    sound, rate = sound_of(talk)
    pieces = (sound[place : place + 1600] for place in range(0, len(sound), 1600))
    with streamser.listen(pieces, sampling_rate=rate, asr="none") as live:
        told = list(live.utterances())
    assert [each.file for each in told] == ["arrays", "arrays"]
    with streamser.listen(ArraySource(sound, rate), asr="none", speaker="Ann") as live:
        first = next(live.events())
    assert isinstance(first, SessionCreated)
    assert first.session.speaker == "Ann"


def test_raw_sound_is_heard_from_a_binary_stream(talk: Path, tmp_path: Path) -> None:
    """Such as the pipe of another program."""
    sound, rate = sound_of(talk)
    raw = tmp_path / "talk.raw"
    raw.write_bytes(np.round(sound * 32767).astype("<i2").tobytes())
    with (
        raw.open("rb") as stream,
        streamser.listen(stream, sampling_rate=rate, asr="none") as live,
    ):
        assert len(list(live.utterances())) == 2


def test_a_model_alone_judges_clips(talk: Path) -> None:
    """One prediction a clip, from its sound and, where they are given, its words."""
    sound, rate = sound_of(talk)
    model = streamser.load_model("compact")
    plain, same, worded = model.predict([talk, sound, sound], [None, None, "I am so happy!"])
    assert plain == same
    assert set(plain.modalities) == {"audio"}
    assert set(worded.modalities) == {"audio", "text"}
    with pytest.raises(ValueError, match="zip"):
        model.predict([sound], ["one", "two"])
    told = model.process_func(sound[None, :], rate)
    assert (told["label"], told["score"]) == (plain.category, plain.confidence)


def test_a_model_learns_whose_voice_it_is_only_where_that_is_said(talk: Path) -> None:
    """Else the order of clips would change what is told of each."""
    model = streamser.load_model("rules")
    once, again = model.predict([talk, talk])
    assert once == again
    first, second = model.predict([talk, talk], speakers=["Ann", "Ann"])
    assert first == once
    assert second != once


async def _through_a_server(talk: Path) -> list[streamser.Utterance]:
    sound, rate = sound_of(talk)
    async with (
        serving() as server,
        streamser.connect(server.local_url, speaker="Ann") as session,
    ):
        return [told async for told in session.utterances(ArraySource(sound, rate))]


def test_a_server_tells_utterances_of_a_source(talk: Path) -> None:
    """The source is sent while they are read, and the stream finished after it."""
    told = asyncio.run(_through_a_server(talk))
    assert [each.start_ms < each.end_ms for each in told] == [True, True]
    assert all(each.label for each in told)


def test_the_package_lists_what_it_gives() -> None:
    """So that a shell completes it; events and errors are among it."""
    assert set(streamser.__all__) <= set(dir(streamser))
    assert {"Recognizer", "listen", "load_model", "connect", "EmotionCompleted"} <= set(
        streamser.__all__
    )
    assert "TYPE_CHECKING" not in dir(streamser)
    for name in streamser.__all__:
        assert getattr(streamser, name) is not None, name


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda each: each.splitlines()[-1].strip()[:24])
def test_a_snippet_of_the_guide_runs_as_it_stands(snippet: str, talk: Path) -> None:
    """A reader who copies it gets lines, and no complaint."""
    run = subprocess.run(
        [sys.executable, "-c", snippet],
        cwd=talk.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()
