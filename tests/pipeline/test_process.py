"""Models in a process of their own give what they give here, and take nobody with them."""

from __future__ import annotations

import multiprocessing
import os
import queue
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import soundfile

from streamser.audio.clip import SAMPLE_RATE, Clip, Samples
from streamser.errors import ConfigError, ModelError
from streamser.pipeline.analyzer import Analyzer
from streamser.pipeline.build import Part, build_engine, settle
from streamser.pipeline.process import RemoteEngine
from streamser.pipeline.requests import EmotionRequest, Fault, Observed, Outcome
from streamser.pipeline.worker import InferenceWorker
from streamser.settings import Settings
from streamser.settings_loader import load_settings
from tests.cli.running import DEMO
from tests.faults.doubles import HandTime
from tests.plugged import write_package

linux = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")

_GIVE_UP_S = 60

HERE = str(Path(__file__).parent)


def settings(preset: str = "voice-only", **flags: Any) -> Settings:
    """Set models up."""
    given = {key.replace("__", "."): value for key, value in flags.items()}
    return load_settings(preset, flags=given, environ={})


def silent(line: str) -> None:
    """Take a line for people."""


@contextmanager
def remote(wanted: Settings, tell: Callable[[str], None] = silent) -> Iterator[RemoteEngine]:
    """Load models in another process."""
    engine = RemoteEngine(wanted, tell, "all")
    try:
        yield engine
    finally:
        engine.close()


def sound(seconds: float, begin: float = 0.0) -> Samples:
    """Read a part of the bundled conversation."""
    samples, rate = soundfile.read(DEMO, dtype="float32")
    assert rate == SAMPLE_RATE
    found: Samples = samples[round(begin * rate) : round((begin + seconds) * rate)]
    return found


def request(number: int, seconds: float = 2.0, begin: float = 1.0) -> EmotionRequest:
    """Ask about a part of the bundled conversation."""
    clip = Clip("session", number, 0, sound(seconds, begin), final=True)
    return EmotionRequest(number, clip, 10 * SAMPLE_RATE, droppable=False, text="so it is")


def same(left: Any, right: Any) -> bool:
    """Compare outcomes to the last bit."""
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(left, right, equal_nan=True)
    if isinstance(left, msgspec.Struct):
        names = left.__struct_fields__
        return type(left) is type(right) and all(
            same(getattr(left, name), getattr(right, name)) for name in names
        )
    if isinstance(left, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right) or (left != left and right != right)


def gone(pid: int) -> None:
    """Wait until a process has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        waiting = select.poll()
        waiting.register(handle, select.POLLIN)
        assert waiting.poll(1000 * _GIVE_UP_S), "it goes on"
    finally:
        os.close(handle)


@pytest.mark.parametrize("model", ["compact", "rules"])
def test_what_is_found_in_another_process_is_what_is_found_here(model: str) -> None:
    """To the last bit, and so is what a listener makes of it."""
    wanted = settings(emotion__model=model)
    here = build_engine(wanted, silent)
    requests = [request(1), request(2, 0.0), request(3, 3.0, 5.0)]
    with remote(wanted) as there:
        found, expected = there.run(requests), here.run(requests)
        assert there.abilities == here.abilities
        assert there.spent.judging_s > 0
        assert all(map(same, found, expected))
        assert isinstance(found[0], Observed)
        reading = there.new_speaker()
        beside = here.new_speaker()
        for outcome in found:
            assert isinstance(outcome, Observed)
            assert reading.predict(outcome.features) == beside.predict(outcome.features)
            reading.adapt(outcome.features)
            beside.adapt(outcome.features)
        assert reading.snapshot() == beside.snapshot()
        assert there.new_speaker().snapshot() == here.new_speaker().snapshot()
        there.forget("session")
        assert all(map(same, there.run(requests), expected))


@pytest.mark.parametrize("part", ["words", "emotion"])
def test_a_process_holds_the_part_of_the_models_that_is_asked_for(part: Part) -> None:
    """What it does not hold it does not load, and requests for it fail."""
    wanted = settings(asr__engine="none")
    engine = RemoteEngine(wanted, silent, part)
    try:
        assert engine.abilities.emotion == ("compact" if part == "emotion" else None)
        (outcome,) = engine.run([request(1)])
        assert isinstance(outcome, Observed if part == "emotion" else Fault)
    finally:
        engine.close()


_ODD = """
from streamser.emotion.rules import RulesModel

def fail():
    raise ValueError("not here")

class Bound:
    def __reduce__(self):
        return fail, ()

class Model(RulesModel):
    def __init__(self, settings, *, offline):
        super().__init__()
    def extract(self, batch):
        found = super().extract(batch)
        for place, spoken in enumerate(batch):
            number = spoken.place.utterance if spoken.place else 0
            if number == 2:
                found[place] = lambda: None
            elif number == 3:
                found[place] = Bound()
        return found
    def forget(self, session_id):
        if session_id == "session":
            raise ValueError("on purpose")
"""


def test_what_cannot_cross_costs_its_own_utterance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plug-in's findings may be bound to a process; it takes nobody's models with it."""
    write_package(tmp_path, "fancy", {"emotion_models/fancy": "fancy:Model"}, _ODD)
    monkeypatch.syspath_prepend(tmp_path)
    with remote(settings(emotion__model="fancy")) as engine:
        pid = engine.pid
        for batch in ([1, 2, 1], [1, 3, 1], [3, 2]):
            outcomes = engine.run([request(number) for number in batch])
            assert [isinstance(each, Observed) for each in outcomes] == [n == 1 for n in batch]
            faults = [each for each in outcomes if isinstance(each, Fault)]
            assert {each.code for each in faults} == {"model_unavailable"}
        engine.forget("session")
        assert isinstance(engine.run([request(1)])[0], Observed)
        assert engine.pid == pid


def test_models_that_cannot_be_had_are_told_of_as_if_they_were_loaded_here() -> None:
    """The same error, and no process is left."""
    with pytest.raises(ConfigError, match="no emotion model is called 'nonesuch'"):
        RemoteEngine(settings(emotion__model="nonesuch"), silent, "all")


@pytest.mark.parametrize(
    ("factory", "why"),
    [
        ("math:sqrt", r"TypeError: .*sqrt"),
        ("sys:exit", "SystemExit"),
    ],
)
def test_whatever_a_process_cannot_load_it_says_why(factory: str, why: str) -> None:
    """Also what no model foresees: an exit code tells nobody anything."""
    with pytest.raises(ModelError, match=why):
        RemoteEngine(settings(speakers__embedder=factory), silent, "emotion")


@linux
def test_a_process_that_ends_while_it_loads_says_where_to_look() -> None:
    """It has no time to say anything itself."""
    with pytest.raises(ModelError, match=r"ended, signal 6, before .* worker\.processes=0"):
        RemoteEngine(settings(speakers__embedder="os:abort"), silent, "emotion")


@linux
def test_a_process_that_hangs_while_it_loads_is_ended() -> None:
    """In the time that loading may take, which the message names."""
    wanted = settings(speakers__embedder="signal:pause", worker__load_s=0.01)
    with pytest.raises(ModelError, match=r"did not load within 0\.01 s \(worker\.load_s\)"):
        RemoteEngine(wanted, silent, "emotion")
    assert not multiprocessing.active_children()


def test_what_loading_has_to_say_to_people_is_said() -> None:
    """As it is here: which recogniser stands in for the one that is not there."""
    said: list[str] = []
    wanted = settings(asr__engine="auto", asr__language="xx", offline=True, emotion__model="rules")
    with remote(wanted, said.append) as engine:
        assert engine.abilities.asr is None
    assert len(said) == 1
    assert said[0].startswith("No words: The Whisper model 'base'")


@linux
def test_signals_that_end_a_program_well_do_not_end_its_models() -> None:
    """Ctrl-C goes to all processes of a terminal, and there are finals to tell yet."""
    with remote(settings()) as engine:
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGINT)
        os.kill(engine.pid, signal.SIGTERM)
        assert isinstance(engine.run([request(1)])[0], Observed)


@linux
def test_closing_ends_the_process() -> None:
    """Also one that has been asked nothing."""
    with remote(settings()) as engine:
        pid = engine.pid
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@linux
def test_a_process_that_ends_is_an_error_that_says_how() -> None:
    """With the code of a worker thread that died."""
    with remote(settings()) as engine:
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(ModelError, match="the process of the models ended, signal 9") as told:
            engine.run([request(1)])
    assert told.value.code == "worker_died"


@linux
def test_the_requests_of_a_process_that_is_killed_are_answered_by_another() -> None:
    """As for a thread that dies: tried again once, and nobody notices."""
    engines: list[RemoteEngine] = []

    def build() -> RemoteEngine:
        engines.append(RemoteEngine(wanted, silent, "all"))
        return engines[-1]

    wanted = settings()
    worker = InferenceWorker(build, wanted.worker)
    answers: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    try:
        worker.engine()
        assert engines[0].pid is not None
        os.kill(engines[0].pid, signal.SIGKILL)
        worker.submit(request(1), lambda request, outcome: answers.put(outcome))
        assert isinstance(answers.get(timeout=_GIVE_UP_S), Observed)
        assert (worker.stats.died, worker.stats.retries) == (1, 1)
    finally:
        worker.close()
    assert len(engines) == 2


@linux
def test_a_process_that_hangs_is_ended_and_its_memory_is_free() -> None:
    """Unlike a thread, which hangs on; the next request is answered by other models."""
    engines: list[RemoteEngine] = []

    def build() -> RemoteEngine:
        engines.append(RemoteEngine(wanted, silent, "all"))
        return engines[-1]

    wanted, time = settings(), HandTime()
    worker = InferenceWorker(build, wanted.worker, timing=time)
    answers: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    try:
        worker.engine()
        pid = engines[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        worker.submit(request(1), lambda request, outcome: answers.put(outcome))
        while answers.empty():
            # The request may not have begun when the hands are moved for the first time.
            time.move(wanted.worker.deadline_s)
        outcome = answers.get()
        assert isinstance(outcome, Fault)
        assert outcome.code == "deadline"
        gone(pid)
        worker.submit(request(2), lambda request, outcome: answers.put(outcome))
        assert isinstance(answers.get(timeout=_GIVE_UP_S), Observed)
        assert worker.stats.stuck == 1
    finally:
        worker.close()


@linux
def test_models_end_with_a_program_that_is_killed() -> None:
    """Nothing is left behind that holds memory, and a GPU."""
    script = (
        "import sys, time\n"
        "from streamser.settings_loader import load_settings\n"
        "from streamser.pipeline.process import RemoteEngine\n"
        "if __name__ == '__main__':\n"
        "    settings = load_settings('voice-only', environ={})\n"
        "    engine = RemoteEngine(settings, lambda line: None, 'all')\n"
        "    print(engine.pid, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        pid = int(program.stdout.readline())
        program.kill()
    gone(pid)


def test_what_loading_says_is_said_once_however_many_load() -> None:
    """Two processes load the same; and the second does not choose a recogniser anew."""
    said: list[str] = []
    wanted = settings(
        asr__engine="auto",
        asr__language="xx",
        offline=True,
        emotion__model="rules",
        worker__processes=2,
    )
    with Analyzer(wanted, tell=said.append) as analyzer:
        assert analyzer.models().asr is None
    assert len(said) == 1


@pytest.mark.parametrize(
    ("chosen", "asked", "expected"),
    [
        (None, "tiny.en", ("none", "tiny.en")),
        ("faster-whisper/tiny.en", "tiny.en", ("whisper", "tiny.en")),
        ("faster-whisper/small", "tiny.en", ("whisper", "small")),
        ("faster-whisper/owner/name", "owner/name", ("whisper", "owner/name")),
        ("faster-whisper/runtime", HERE, ("whisper", HERE)),
    ],
)
def test_a_recogniser_that_was_chosen_stays_chosen(
    chosen: str | None, asked: str, expected: tuple[str, str]
) -> None:
    """Engines that are loaded later are like the first, a directory found as it was."""
    wanted = settings(asr__engine="auto", asr__model=asked)
    found = settle(wanted, chosen)
    assert (found.asr.engine, found.asr.model) == expected
    assert found == settle(found, chosen)


@linux
def test_models_in_a_process_of_their_own_keep_no_second_core_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thread of OpenBLAS that waits for work turns in a circle; a user's word comes first."""
    for given, expected in ((None, b"1"), ("3", b"3")):
        monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
        if given is not None:
            monkeypatch.setenv("OPENBLAS_NUM_THREADS", given)
        with remote(settings(emotion__model="rules")) as engine:
            there = Path(f"/proc/{engine.pid}/environ").read_bytes().split(b"\0")
        assert b"OPENBLAS_NUM_THREADS=" + expected in there
