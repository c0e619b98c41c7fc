from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.cli.running import refuses
from tests.tools.bench.running import PROGRAM, ROOT, run, start
from tools.bench.conversation import load_demo
from tools.bench.figures import PipelineReport
from tools.bench.latency import Live
from tools.bench.measure import Spread, pinned, resident_mib
from tools.bench.pipeline import QUICK

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")


class Printed(msgspec.Struct, frozen=True):
    """What a run printed and wrote."""

    screen: str
    markdown: str
    report: PipelineReport


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Printed:
    """Run the whole command in quick mode, once."""
    folder = tmp_path_factory.mktemp("bench")
    files = ["--json", str(folder / "r.json"), "--markdown", str(folder / "r.md")]
    done = run("pipeline", "--quick", *files)
    assert done.exit_code == 0, done.output
    return Printed(
        done.output,
        (folder / "r.md").read_text(encoding="utf-8"),
        msgspec.json.decode((folder / "r.json").read_bytes(), type=PipelineReport),
    )


def turns_begun(seconds: float) -> int:
    """Count the turns of the demo that have spoken for a while before a second."""
    demo = load_demo()
    starts = [
        placed.start / demo.rate + placed.turn.speech[0]
        for placed in demo.first(40)
        if placed.turn.speech is not None
    ]
    return sum(start + 0.4 < seconds for start in starts)


def test_a_quick_run_says_so_and_judges_nothing(printed: Printed) -> None:
    """Screen and file both warn, and no figure has a verdict."""
    assert printed.report.quick
    assert "QUICK RUN" in printed.screen
    assert "QUICK RUN" in printed.markdown
    assert len(printed.report.figures) > 15
    assert all(figure.met is None for figure in printed.report.figures)


def test_machine_and_sound_are_named(printed: Printed) -> None:
    """A report can be read without knowing where it comes from."""
    machine = printed.report.machine
    assert machine.cpu
    assert machine.cores >= 1
    assert {"numpy", "onnxruntime", "soxr"} <= set(machine.packages)
    assert printed.report.recordings == "bundled demo"
    for part in (machine.cpu, machine.python, "numpy"):
        assert part in printed.markdown


def test_the_front_half_heard_the_demo(printed: Printed) -> None:
    """Both detectors at both rates found the turns that were played, and the parts add up."""
    section = printed.report.sections.front
    assert section is not None
    assert [(half.vad, half.rate) for half in section.halves] == [
        ("silero", 44_100),
        ("silero", 48_000),
        ("webrtc", 44_100),
        ("webrtc", 48_000),
    ]
    assert [alone.vad for alone in section.plain] == ["silero", "webrtc"]
    for half in section.halves:
        assert half.utterances == turns_begun(QUICK.front_s)
        assert half.jobs >= half.utterances
        assert half.times_real > 0
        shares = (half.resample_share, half.vad_share, half.rest_share)
        assert min(shares) > 0
        assert sum(shares) == pytest.approx(1, abs=0.002)


def test_partials_came_every_half_second(printed: Printed) -> None:
    """As many partials were read as the speech of the script gives room for."""
    section = printed.report.sections.partials
    assert section is not None
    assert section.model == "compact"
    assert section.speech_s == pytest.approx(section.partials * 0.5)
    assert 0.5 * QUICK.cost_s < section.speech_s < QUICK.cost_s
    assert section.as_they_came.observe_ms.n == section.partials
    assert section.longest.mean_length_s == 10.0
    for windows in (section.as_they_came, section.longest):
        assert windows.observe_ms.least > 0
        assert windows.share_of_core > 0


def test_every_live_configuration_heard_every_turn(printed: Printed) -> None:
    """Each recogniser, speculative or not, gave one final a turn, where the script ends it."""
    section = printed.report.sections.latency
    assert section is not None
    assert section.together
    asked = [(live.asr, live.speculative) for live in section.live]
    assert asked == [
        ("none", True),
        ("none", False),
        ("whisper", True),
        ("whisper", False),
    ]
    measured = [live for live in section.live if live.fault is None]
    assert {live.asr for live in measured} >= {"none"}
    for live in measured:
        assert live.utterances == live.matched == live.spoken == QUICK.utterances
        assert live.failed == 0
        assert live.jobs - live.discarded >= live.utterances
        assert live.discarded >= 0
        for found in spreads(live):
            assert found.n == live.utterances
            assert found.least <= found.p50 <= found.p95 <= found.p99 <= found.most
        assert live.end_deviation is not None
        assert abs(live.end_deviation.p50) < 100


def test_due_times_never_make_a_latency_look_better(printed: Printed) -> None:
    """What the events' own lag says is at most what the stopwatch says from the due times."""
    section = printed.report.sections.latency
    assert section is not None
    for live in section.live:
        if live.fault is None:
            assert live.beyond_hangover is not None
            assert live.by_lag is not None
            # Rounding of lag_ms.
            assert live.by_lag.least <= live.beyond_hangover.least + 0.1
            assert live.by_lag.most <= live.beyond_hangover.most + 0.1


def test_a_final_that_was_not_begun_early_is_not_ready_at_the_endpoint(printed: Printed) -> None:
    """Without speculation no result can be there when the endpoint is declared."""
    section = printed.report.sections.latency
    assert section is not None
    late = [live for live in section.live if not live.speculative and live.fault is None]
    assert late
    for live in late:
        assert live.after_endpoint is not None
        assert live.after_endpoint.least > 0


def test_memory_was_read_in_a_process_of_its_own(printed: Printed) -> None:
    """Three readings at growing places of the stream, each a plausible size."""
    section = printed.report.sections.memory
    assert section is not None
    minutes = [reading.audio_minutes for reading in section.readings]
    assert minutes == pytest.approx([QUICK.hours * 60 * s for s in (1 / 18, 1 / 3, 1)], abs=0.02)
    assert all(reading.resident_mib > 10 for reading in section.readings)
    assert section.utterances == pytest.approx(turns_begun(QUICK.hours * 3600), abs=1)
    assert section.events > 5 * section.utterances


def test_start_up_was_measured(printed: Printed) -> None:
    """The program starts no faster than Python itself, and its import loads no torch."""
    section = printed.report.sections.startup
    assert section is not None
    assert section.help_s > 0
    assert section.python_s > 0
    assert not {"torch", "transformers"} & set(section.loaded_by_import)


def test_parts_can_be_picked(tmp_path: Path) -> None:
    """``--only`` leaves the other sections out of the report."""
    file = tmp_path / "r.json"
    done = run("pipeline", "--quick", "--only", "partials", "--json", file)
    assert done.exit_code == 0, done.output
    report = msgspec.json.decode(file.read_bytes(), type=PipelineReport)
    assert report.sections.partials is not None
    left_out = report.sections
    assert (left_out.front, left_out.startup, left_out.latency, left_out.memory) == (None,) * 4


@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        ("--json missing/r.json", 2, "--json missing/r.json: its folder does not exist"),
        ("--markdown missing/r.md", 2, "--markdown missing/r.md: its folder does not exist"),
        ("--json .", 2, "--json .: it is a folder"),
        ("--recordings missing", 1, "is not a folder"),
    ],
)
def test_bad_options_are_told_before_anything_is_measured(
    options: str, code: int, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty minutes must not end at a folder's name, or at sound that is not there."""
    monkeypatch.chdir(tmp_path)
    refuses(run("pipeline", "--quick", *options.split()), code, line)


@posix
def test_an_interrupted_bench_waits_for_nothing() -> None:
    """Ctrl-C ends it although sound is still being played on other threads."""
    with start("pipeline", "--quick", "--only", "latency", "--utterances", "48") as bench:
        assert bench.stderr is not None
        while "in real time" not in bench.stderr.readline():
            assert bench.poll() is None
        bench.send_signal(signal.SIGINT)
        _, err = bench.communicate(timeout=60)
    assert bench.returncode == 130
    assert "Traceback" not in err


@posix
def test_a_report_that_finds_no_room_is_told_in_one_line(tmp_path: Path) -> None:
    """The figures are printed all the same; the limit plays the full disk."""
    options = ["--quick", "--only", "startup", "--json", str(tmp_path / "report.json")]
    command = ["sh", "-c", 'ulimit -f 0; "$@"', "sh", *PROGRAM, "pipeline", *options]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "start-up" in done.stdout.lower()
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert "report.json: File too large" in line
    assert "Traceback" not in done.stderr


def test_pinning_is_undone() -> None:
    """After the block the thread may run where it could before."""
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system pins no threads")
    before = os.sched_getaffinity(0)
    with pinned() as core:
        assert os.sched_getaffinity(0) == {core}
    assert os.sched_getaffinity(0) == before


def test_resident_memory_is_this_process_s() -> None:
    """A Python process with numpy holds more than 10 MB and less than the machine has."""
    resident = resident_mib()
    if resident is None:
        pytest.skip("this system does not tell")
    assert 10 < resident < 100_000


def spreads(live: Live) -> Iterator[Spread]:
    """Yield the spreads that were measured."""
    for found in (
        live.beyond_hangover,
        live.by_lag,
        live.beyond_true_end,
        live.end_deviation,
        live.after_endpoint,
    ):
        assert found is not None
        yield found
