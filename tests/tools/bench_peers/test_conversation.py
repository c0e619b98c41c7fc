from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from msgspec.structs import replace

from streamser.audio.clip import SAMPLE_RATE
from tests.data import shared_data
from tools.bench_peers.conversation import Plan, converse, read_clips, speech_bounds
from tools.bench_peers.errors import BenchError

PLAN = Plan(seed=3, seconds=12.0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Make a folder of recordings: tones of 0.5 s and more, with silence around them."""
    folder = tmp_path / "speech" / "audio"
    folder.mkdir(parents=True)
    rows = ["path,speaker,text"]
    for number in range(4):
        length = SAMPLE_RATE // 2 * (number + 1)
        tone = 0.3 * np.sin(np.arange(length) / 5)
        sound = np.concatenate([np.zeros(SAMPLE_RATE // 2), tone, np.zeros(SAMPLE_RATE)])
        soundfile.write(folder / f"{number}.flac", sound, SAMPLE_RATE)
        rows.append(f"audio/{number}.flac,someone,Clip number {number}.")
    rows.append("audio/none.flac,someone,")
    rows.append("audio/cards.flac,ps_cards,ten of clubs")
    (tmp_path / "speech" / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    return tmp_path


def test_a_conversation_holds_its_speech_where_the_truth_says(data: Path) -> None:
    """Between the times of an utterance there is the tone, outside of them next to nothing."""
    conversation = converse(read_clips(data), PLAN, 0)
    sound = np.frombuffer(conversation.pcm, "<i2") / 32768
    inside = np.zeros(len(sound), bool)
    for each in conversation.utterances:
        begin, end = (round(at * SAMPLE_RATE) for at in (each.start_s, each.end_s))
        assert np.sqrt(np.mean(sound[begin:end] ** 2)) > 0.15
        inside[begin - 400 : end + 400] = True
    assert np.abs(sound[~inside]).max() < 0.01
    assert conversation.seconds >= PLAN.seconds - max(PLAN.pause_s)


def test_pauses_are_as_long_as_asked_for(data: Path) -> None:
    """From the end of one utterance to the next: the pause, and what is kept around clips."""
    utterances = converse(read_clips(data), PLAN, 1).utterances
    for one, next_one in pairwise(utterances):
        pause = next_one.start_s - one.end_s
        assert PLAN.pause_s[0] + 0.35 <= pause <= PLAN.pause_s[1] + 0.45


def test_a_seed_gives_a_stream_its_conversation_and_each_another(data: Path) -> None:
    """The same again for the same seed and stream; other streams and seeds differ."""
    clips = read_clips(data)
    assert converse(clips, PLAN, 2).pcm == converse(clips, PLAN, 2).pcm
    others = (converse(clips, PLAN, 3), converse(clips, replace(PLAN, seed=4), 2))
    assert all(each.pcm != converse(clips, PLAN, 2).pcm for each in others)


def test_every_clip_comes_once_before_any_comes_again(data: Path) -> None:
    """A stream that is long enough has said everything."""
    said = [each.clip for each in converse(read_clips(data), PLAN, 5).utterances]
    assert sorted(said[:4]) == ["0", "1", "2", "3"]


def test_clips_without_words_and_single_commands_are_left_out(data: Path) -> None:
    """Only what has a transcript, and is no card, is read."""
    assert [clip.text for clip in read_clips(data)] == [f"Clip number {n}." for n in range(4)]


def test_speech_ends_with_the_last_loud_window() -> None:
    """A noise 40 dB below is no speech."""
    noise = np.random.default_rng(1).standard_normal(SAMPLE_RATE).astype(np.float32) * 0.002
    noise[4800:11200] *= 100
    assert speech_bounds(noise) == (4800, 11200)


def test_a_folder_that_is_not_there_costs_one_line(tmp_path: Path) -> None:
    """The line says how to name it."""
    with pytest.raises(BenchError, match=r"labels\.csv cannot be read.*--data DIR.*STREAMSER_DATA"):
        read_clips(tmp_path)


def test_the_real_clips_have_words_and_bounds() -> None:
    """Two dozen recordings, each with its speech inside it."""
    clips = read_clips(shared_data("speech").parent)
    assert len(clips) >= 20
    for clip in clips:
        assert 0 <= clip.begin < clip.end <= len(clip.samples), clip.name
        assert 1.0 < (clip.end - clip.begin) / SAMPLE_RATE < 12.0, clip.name
