"""Streams whose readings come from elsewhere: who reads is told, and a death costs no utterance."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from msgspec.structs import replace

from streamser.emotion.choose import choose_model
from streamser.emotion.model import Prediction, PredictorModel, Segment
from streamser.emotion.remote.serving import DeployOptions, ReadingService, read_options
from streamser.emotion.remote.wire import WIRE, ModelCard, to_bytes
from streamser.errors import ConfigError
from streamser.pipeline.build import build_model
from streamser.settings import EmotionSettings, Settings, WorkerSettings
from tests.cli.running import DEMO, run
from tests.emotion.remote.deployment import Always, deployed, finals
from tests.emotion.voices import speak
from tests.server.serving import (
    EMOTION,
    Told,
    check_stream,
    demo,
    dial,
    encode,
    finals_of,
    patience,
    serving,
)

NOWHERE = "http://127.0.0.1:9/"
FIRST_BYTES = 4 * 3 * 16_000
"""Fewer than the first utterance has, and more than whatever is asked before it is over."""
SOUND = encode(demo())
HALF = len(SOUND) // 2 // 2 * 2


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the first utterances of the bundled conversation."""
    samples, rate = soundfile.read(DEMO, frames=12 * 16_000, dtype="int16")
    path: Path = tmp_path_factory.mktemp("talk") / "talk.wav"
    soundfile.write(path, samples, rate)
    return path


def test_events_say_that_the_model_elsewhere_has_read(talk: Path) -> None:
    """Its name is in every final, and its scores are what it said."""
    with deployed() as there:
        told = finals(talk, there.url)
    assert len(told) > 1
    assert {event.emotion.model for event in told} == {"big"}
    assert {event.emotion.scores["happy"] for event in told} == {0.7}


def test_without_the_model_elsewhere_everything_is_as_if_it_had_never_been(talk: Path) -> None:
    """The same readings of the same utterances by the model here, which is named."""
    alone, away = finals(talk, None), finals(talk, NOWHERE)
    assert [event.emotion for event in away] == [event.emotion for event in alone]
    assert {event.emotion.model for event in away} == {"rules"}


def test_a_death_in_the_middle_costs_no_utterance(talk: Path) -> None:
    """As many finals as without it, in order; from there on the model here has read."""
    with deployed() as there:

        def until_it_is_read(body: bytes | None) -> tuple[int, bytes]:
            if body is not None and len(body) > FIRST_BYTES:
                there.does = lambda body: (500, b"dying")
            return there.well(body)

        there.does = until_it_is_read
        told = finals(talk, there.url)
    models = [event.emotion.model for event in told]
    assert len(told) == len(finals(talk, None))
    assert models == sorted(models), "big before rules"
    assert set(models) == {"big", "rules"}
    assert [event.item_id for event in told] == sorted(event.item_id for event in told)


def test_readings_of_a_checkpoint_are_the_same_from_afar(tmp_path: Path) -> None:
    """To the last bit: sound crosses as it is heard, and readings as they are made."""
    pytest.importorskip("torch")
    from tests.emotion.fused.checkpoints import tiny_checkpoint

    where = EmotionSettings(model=str(tiny_checkpoint(tmp_path / "tiny")), device="cpu")
    here = choose_model(where)
    clips = [
        Segment(speak(120.0), None),
        Segment(speak(200.0), "leave me alone"),
        Segment(np.zeros(0, np.float32), "alone"),
    ]
    speaker = here.new_speaker()
    expected = [replace(speaker.predict(each), model="tiny") for each in here.extract(clips)]
    with deployed(here) as there:
        model = choose_model(EmotionSettings(model="rules", remote=there.url))
        afar = model.new_speaker()
        assert [afar.predict(each) for each in model.extract(clips)] == expected


def test_the_command_says_who_reads(talk: Path) -> None:
    """One line on who is away, and it goes on; one where another model is there, and it ends."""
    asked = ("analyze", talk, "--asr", "none", "--model", "rules", "--set")
    done = run(*asked, f"emotion.remote={NOWHERE}")
    assert done.exit_code == 0
    assert done.stderr.count("emotion.remote") == 1
    assert "rules reads here until it answers" in done.stderr
    with deployed() as there:
        wrong = run(*asked, f"emotion.remote={there.url}", "--set", "emotion.remote_model=paper")
    assert wrong.exit_code == 1
    assert "has the model 'big', and 'paper' is asked for" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    bad = run(*asked, "emotion.remote=gpu:8000")
    assert bad.exit_code == 2
    assert "write http://HOST:8000/" in bad.stderr


def test_what_is_deployed_is_said_in_words() -> None:
    """As Ray passes them on; all are told apart by their names."""
    options = read_options({"model": "/models/paper", "gpus": "0.5", "replicas": "2"})
    assert options == DeployOptions(model="/models/paper", gpus=0.5, replicas=2)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "missing required field `model`"),
        ({"model": "m", "gpu": "1"}, "unknown field `gpu`"),
        ({"model": "m", "replicas": "0"}, "`int` >= 1"),
    ],
)
def test_what_cannot_be_deployed_is_one_line(asked: dict[str, str], said: str) -> None:
    """With what there is to choose from."""
    with pytest.raises(ConfigError, match=said) as refused:
        read_options(asked)
    assert "write model=NAME, and of device, precision" in str(refused.value)


def test_one_may_not_be_waited_for_as_long_as_a_batch_may_take() -> None:
    """Models would be taken for stuck, and lost with the utterances, before the one here reads."""
    slow = EmotionSettings(model="rules", remote=NOWHERE, remote_s=5.0)
    settings = Settings(emotion=slow, worker=WorkerSettings(deadline_s=5.0))
    with pytest.raises(ConfigError, match=r"within worker\.deadline_s \(5\)"):
        build_model(settings, lambda line: None)


def test_one_clip_that_cannot_be_read_spoils_no_other() -> None:
    """Those who ask at the same time are strangers to each other."""

    class Picky(Always):
        def predict(self, segments: Sequence[Segment]) -> list[Prediction]:
            if any(each.text == "bad" for each in segments):
                raise ValueError("a bad one")
            return super().predict(segments)

    service = ReadingService(PredictorModel(Picky()))
    silence = np.zeros(1600, np.float32)
    read = service.read_each([Segment(silence, text) for text in ("one", "bad", "two")])
    assert [isinstance(each, ValueError) for each in read] == [False, True, False]


def test_worker_processes_go_on_with_the_model_here() -> None:
    """Those that begin anew find another model there, which is no reason not to begin.

    All finals come, once; events and figures say who has read them.
    """

    async def scene() -> tuple[list[list[Told]], str]:
        flags = {"worker.processes": 2, "emotion.model": "rules", "emotion.remote": there.url}
        async with serving(flags) as server, dial(server) as one, dial(server) as other:
            for wire in (one, other):
                await wire.sound(SOUND[:HALF])
            told = [await wire.until(EMOTION) for wire in (one, other)]
            there.does = lambda body: (200, to_bytes(ModelCard(WIRE, "another", ("audio",))))
            for child in multiprocessing.active_children():
                os.kill(child.pid or 0, signal.SIGKILL)
            for wire, heard in zip((one, other), told, strict=True):
                await wire.sound(SOUND[HALF:])
                heard += await wire.finish()
            return told, server.metrics.render().decode()

    with deployed() as there:
        told, figures = asyncio.run(patience(scene()))
    readers = []
    for heard in told:
        check_stream(heard)
        finals = finals_of(heard)
        assert len(finals) == 4
        readers += [each["emotion"]["model"] for each in finals]
    assert set(readers) == {"big", "rules"}
    for name in ("big", "rules"):
        assert f'streamser_readings_total{{model="{name}"}} {readers.count(name)}.0' in figures
