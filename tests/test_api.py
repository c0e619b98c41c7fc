from __future__ import annotations

import asyncio
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import streamser
from streamser.audio.clip import Samples
from streamser.audio.raw import ArraySource, as_frames
from streamser.audio.source import AudioSource
from streamser.client.listener import as_source
from streamser.errors import AudioError, ConfigError, ModelError
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


def test_a_whole_recording_is_one_utterance(talk: Path, recognize: streamser.Recognizer) -> None:
    """From end to end; so is each of several."""
    sound, rate = sound_of(talk)
    told = recognize([talk, sound[: 2 * rate]], sampling_rate=rate, whole=True)
    assert [(each.start_ms, each.end_ms) for each in told] == [(0, 9000), (0, 2000)]


def test_recordings_of_one_speaker_go_on_from_each_other(
    talk: Path, recognize: streamser.Recognizer
) -> None:
    """What is learnt of a voice is known in its next recording, and in no other."""
    sound, rate = sound_of(talk)
    clips = [sound[: 5 * rate], sound, sound[5 * rate :]]
    apart = recognize(clips, sampling_rate=rate, whole=True)
    known = recognize(clips, sampling_rate=rate, whole=True, speakers=["ann", None, "ann"])
    assert [each.speaker for each in known] == ["ann", None, "ann"]
    same = [one.scores == other.scores for one, other in zip(apart, known, strict=True)]
    assert same == [True, True, False]
    with pytest.raises(ConfigError, match="3 recordings and 1 speakers: give one for each"):
        recognize(clips, sampling_rate=rate, speakers=["ann"])
    with pytest.raises(ConfigError, match="exclude each other"):
        recognize(clips, sampling_rate=rate, speaker="ann", speakers=["ann"] * 3)
    with pytest.raises(ConfigError, match="speaker=3 is no name"):
        recognize(clips, sampling_rate=rate, speakers=["ann", None, 3])  # type: ignore[list-item]


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
    with pytest.raises(AudioError, match=r"complex.*signed integers of 8 to 32 bits"):
        as_frames(silence.astype(complex))
    with pytest.raises(ConfigError, match="speaker=3 is no name"):
        recognize(silence.T, sampling_rate=16_000, speaker=3)  # type: ignore[arg-type]
    with pytest.raises(AudioError, match="nowhere"):
        recognize("nowhere.wav")


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.uint16])
def test_integers_without_a_full_scale_are_refused(kind: type) -> None:
    """An int64 is mostly a sum of int16, and would be silence on its own scale."""
    with pytest.raises(AudioError, match=r"give int16 or floats in \[-1, 1\]"):
        as_frames(np.full(1_600, 100, kind))


@pytest.mark.parametrize("kind", ["<i2", ">i2", "i1", "i4"])
def test_integers_of_every_order_and_usual_width_are_sound(kind: str) -> None:
    """The least of them is -1."""
    least = np.array([np.iinfo(kind).min], kind)
    assert as_frames(least).tolist() == [[-1.0]]


@pytest.mark.parametrize("rate", [0, -16_000, "16000", True, 16_000.5, float("nan"), 1e9])
def test_a_rate_that_is_none_is_refused_in_one_line(rate: Any) -> None:
    """Wherever one is given, before anything is heard."""
    silence = np.zeros(1_600, np.float32)
    model = streamser.load_model("rules")
    refusal = "a sample rate of .* cannot be used"
    with pytest.raises(AudioError, match=refusal):
        ArraySource(silence, rate)
    with pytest.raises(AudioError, match=refusal):
        streamser.listen(io.BytesIO(bytes(3_200)), sampling_rate=rate)
    with pytest.raises(AudioError, match=refusal):
        model.predict([silence], sampling_rate=rate)
    with pytest.raises(ConfigError, match="give its sampling_rate"):
        model.predict([silence], sampling_rate=None)  # type: ignore[arg-type]


def test_a_rate_may_be_a_whole_number_of_any_type() -> None:
    """Some libraries give floats."""
    silence = np.zeros(1_600, np.float32)
    for rate in (16_000, 16_000.0, np.int64(16_000), np.float32(16_000)):
        source = ArraySource(silence, rate)  # type: ignore[arg-type]
        assert (source.rate, source.duration) == (16_000, 0.1)


def test_what_cannot_be_heard_is_refused_in_one_line() -> None:
    """Before a stream of it begins."""
    with pytest.raises(ConfigError, match=r"int is nothing to hear: .* device="):
        streamser.listen(3)  # type: ignore[arg-type]
    with pytest.raises(AudioError, match="text, not bytes"):
        streamser.listen(io.StringIO("sound"))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="speaker=3 is no name"):
        streamser.listen(io.BytesIO(), speaker=3)  # type: ignore[arg-type]


def test_parts_and_sums_of_utterances_are_utterances() -> None:
    """So that they can become a table as well."""
    one = streamser.Utterance(item_id="one", start_ms=0, end_ms=1_000)
    told = streamser.Utterances([one, one, one])
    for part in (told[:2], told[:1] + told[2:], told.copy()[1:]):
        assert isinstance(part, streamser.Utterances)
        assert list(part) == [one, one]
    assert told[-1] is one


def test_a_zero_is_shown_and_what_is_not_known_is_not() -> None:
    """An utterance may begin at 0, and be neither pleasant nor unpleasant."""
    shown = repr(streamser.Utterance(item_id="one", start_ms=0, end_ms=1_000, speaker="Ann"))
    assert shown == "Utterance(start=0.0, end=1.0, speaker='Ann')"


def test_paths_serve_wherever_names_do(tmp_path: Path) -> None:
    """As settings, and for what they are read from."""
    file = tmp_path / "mine.toml"
    file.write_text("[endpointing]\nsilence_ms = 410\n", encoding="utf-8")
    configs: list[Path | list[Path | str]] = [file, [file], ["voice-only", file]]
    for config in configs:
        made = streamser.Recognizer(config=config, asr_model=tmp_path)
        assert made.settings.endpointing.silence_ms == 410
        assert made.settings.asr.model == str(tmp_path)
    with pytest.raises(ModelError, match=re.escape(str(tmp_path))):
        streamser.load_model(tmp_path)
    with pytest.raises(ConfigError, match="config=3 names no preset"):
        streamser.Recognizer(config=3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"emotion\.model: a value is needed\.$"):
        streamser.load_model("")


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
    with pytest.raises(ConfigError, match="give one for each"):
        model.predict([sound], ["one", "two"])
    (one,) = model.predict(clip for clip in [talk])
    assert one == plain
    told = model.process_func(sound[None, :], rate)
    assert (told["label"], told["score"]) == (plain.category, plain.confidence)


def test_one_clip_alone_is_refused_with_what_to_give() -> None:
    """Its letters or frames are not clips."""
    model = streamser.load_model("rules")
    silence = np.zeros(1_600, np.float32)
    for clip in ("demo.flac", Path("demo.flac"), silence, np.stack([silence, silence], axis=1)):
        with pytest.raises(ConfigError, match=r"give a list of clips, such as \[clip\]"):
            model.predict(clip)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="give a list of texts"):
        model.predict([silence], "a")
    with pytest.raises(ConfigError, match="give a list of speakers"):
        model.predict([silence, silence, silence], speakers="Ann")
    with pytest.raises(ConfigError, match="2 clips and 1 texts: give one for each"):
        model.predict([silence, silence], ["a"])
    with pytest.raises(ConfigError, match="1 clips and 2 speakers"):
        model.predict([silence], speakers=["Ann", "Bob"])
    with pytest.raises(ConfigError, match="int is no sound"):
        model.predict([3])  # type: ignore[list-item]
    with pytest.raises(AudioError, match=r"\(1600, 2\).*of shape \(channels, frames\)"):
        model.process_func(np.stack([silence, silence], axis=1), 16_000)


def test_a_model_learns_whose_voice_it_is_only_where_that_is_said(talk: Path) -> None:
    """Else the order of clips would change what is told of each."""
    model = streamser.load_model("rules")
    once, again = model.predict([talk, talk])
    assert once == again
    first, second = model.predict([talk, talk], speakers=["Ann", "Ann"])
    assert first == once
    assert second != once


async def _through_a_server(
    source: AudioSource | Path | str, *, read_before: int = 0
) -> list[streamser.Utterance]:
    async with (
        serving() as server,
        streamser.connect(server.local_url, speaker="Ann") as session,
    ):
        for _ in range(read_before):
            await anext(session)
        return [told async for told in session.utterances(source)]


def test_a_server_tells_utterances_of_a_source(talk: Path) -> None:
    """The source is sent while they are read, and the stream finished after it."""
    told = asyncio.run(_through_a_server(ArraySource(*sound_of(talk))))
    assert [each.start_ms < each.end_ms for each in told] == [True, True]
    assert all(each.label for each in told)
    assert [each.speaker for each in told] == ["Ann", "Ann"]


def test_utterances_are_told_whatever_was_read_before(talk: Path) -> None:
    """Who looks at the first event does not lose the names, nor what is not transcribed."""
    source = ArraySource(*sound_of(talk))
    told = asyncio.run(_through_a_server(source, read_before=1))
    assert [each.speaker for each in told] == ["Ann", "Ann"]


def test_a_source_for_a_server_is_taken_as_elsewhere_or_refused(talk: Path) -> None:
    """A path is played at real speed; an array is sent by hand."""
    source = as_source(str(talk))
    assert (source.name, source.live) == (talk.name, True)
    for wrong in (np.zeros(1_600, np.float32), 3):
        with pytest.raises(ConfigError, match=r"is no source of sound: give the path of a file"):
            asyncio.run(_through_a_server(wrong))  # type: ignore[arg-type]
    with pytest.raises(AudioError, match="nowhere"):
        asyncio.run(_through_a_server("nowhere.wav"))


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
