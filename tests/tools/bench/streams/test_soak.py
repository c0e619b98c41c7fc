from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from streamser.machine import Machine
from tests.cli.running import refuses
from tests.tools.bench.running import run, start
from tools.bench.streams.client import read_told
from tools.bench.streams.server import read_process
from tools.bench.streams.soak import Watch
from tools.bench.streams.soak_clients import Ledger, Tally
from tools.bench.streams.soak_report import (
    DEFINITIONS,
    Reading,
    SoakReport,
    Trend,
    judge_count,
    judge_loss,
    judge_memory,
    judge_rest,
    plot_soak,
    soak_page,
    trends_of,
)
from tools.reporting import markdown

HOUR = [each / 6 for each in range(360)]

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


def noise(seed: int, size: float) -> list[float]:
    """Return an hour of noise, centred."""
    chance = random.Random(seed)
    return [chance.uniform(-size, size) for _ in HOUR]


def memory(values: list[float], bound: float | None = 1.0) -> Trend:
    """Judge an hour of memory."""
    return judge_memory("memory", HOUR, values, bound)


def readings(grow: float = 0.0) -> list[Reading]:
    """Return an hour of a server that grows by so many MiB, threads, files and tasks an hour."""
    return [
        Reading(
            minutes=at,
            rss_mib=300 + grow * at / 60,
            private_mib=200 + grow * at / 60,
            each_mib=(100.0, 200 + grow * at / 60),
            threads=12 + round(grow * at / 60),
            descriptors=40 + round(grow * at / 60),
            tasks=70 + round(grow * at / 60),
            streams=8,
            listeners=5,
            kept_events=20_000,
        )
        for at in HOUR
    ]


def at_rest(reading: Reading) -> Reading:
    """Return a reading with nobody there."""
    return replace(reading, streams=0, listeners=0)


def report(grow: float = 0.0, **changed: Any) -> SoakReport:
    """Return the report of such a server."""
    read = readings(grow)
    rests = (at_rest(read[0]), at_rest(read[-1]))
    tally = Tally(sessions=100, finished=60, vanished=20, resumed=20, events=5_000)
    whole = SoakReport(
        command="python -m tools.bench soak",
        seed=1,
        machine=Machine(
            cpu="a processor",
            cores=2,
            system="Linux x86_64",
            python="CPython 3.11.9",
            streamser="1.0.0",
            packages={"numpy": "2.0"},
        ),
        server="started for this",
        models={"vad": "silero", "asr": None, "emotion": "compact"},
        settings={"asr.engine": "none"},
        sound="the bundled demo",
        speech_share=0.7,
        streams=8,
        listeners=5,
        speed=6.0,
        warm_minutes=30.0,
        minutes=60.0,
        renew_minutes=4.0,
        every_s=10.0,
        seconds=900.0,
        trends=tuple(trends_of(read, rests, tally, 1.0)),
        tally=tally,
        rests=rests,
        readings=tuple(read),
    )
    return replace(whole, **changed)


# What grows


def test_memory_that_only_varies_is_held() -> None:
    """Ten MiB of noise on 300 are no growth."""
    trend = memory([300 + each for each in noise(1, 10)])
    assert trend.held is True
    assert trend.percent is not None
    assert abs(trend.percent) < 1


def test_memory_that_creeps_is_not_held_though_noise_hides_it() -> None:
    """Six MiB an hour on 300 are two percent, whatever the noise."""
    creeping = [300 + at / 10 + each for at, each in zip(HOUR, noise(2, 10), strict=True)]
    trend = memory(creeping)
    assert trend.held is False
    assert trend.percent == pytest.approx(2, abs=0.6)
    assert trend.an_hour == pytest.approx(6, abs=2)
    assert "> 1 %" in trend.why


def test_memory_that_jumps_late_and_stays_is_not_held() -> None:
    """The slope between most readings is none, but the last quarter lies above the first."""
    trend = memory([300.0 if at < 44 else 310.0 for at in HOUR])
    assert trend.an_hour == 0
    assert trend.held is False


def test_one_peak_is_no_growth() -> None:
    """A moment of much memory that is given back does not count."""
    trend = memory([600.0 if 58 < at < 59 else 300.0 for at in HOUR])
    assert trend.held is True
    assert trend.percent == 0


def test_memory_that_shrinks_is_held() -> None:
    """Growth is judged, not change."""
    assert memory([300 - at / 2 for at in HOUR]).held is True


def test_memory_without_a_bound_is_told_but_not_judged() -> None:
    """It has its figures all the same."""
    trend = memory([300 + at for at in HOUR], None)
    assert trend.held is None
    assert trend.percent is not None
    assert trend.percent > 10


@pytest.mark.parametrize("count", [0, 1, 7])
def test_few_readings_have_no_verdict(count: int) -> None:
    """Neither memory nor counts are judged by less than two readings a quarter."""
    for trend in (
        judge_memory("memory", HOUR[:count], [300.0] * count, 1.0),
        judge_count("tasks", HOUR[:count], [70.0] * count),
    ):
        assert trend.held is None
        assert f"{count} readings" in trend.why


def test_a_number_that_varies_with_who_is_there_is_held() -> None:
    """Four tasks more or less as clients come and go are no growth."""
    assert judge_count("tasks", HOUR, [70 + round(each) for each in noise(3, 4)]).held is True


@pytest.mark.parametrize("an_hour", [1, 3, 100])
def test_a_number_that_grows_is_not_held(an_hour: int) -> None:
    """Even where only one more is left in an hour."""
    trend = judge_count("threads", HOUR, [12 + round(an_hour * at / 60) for at in HOUR])
    assert trend.held is False


def test_a_number_that_grows_under_noise_is_not_held() -> None:
    """One task left behind by every second session, among four that come and go."""
    grown = [70 + round(at + each) for at, each in zip(HOUR, noise(4, 4), strict=True)]
    assert judge_count("tasks", HOUR, grown).held is False


@pytest.mark.parametrize(("after", "held"), [(7, True), (6, True), (8, False)])
def test_at_rest_not_one_more_may_be_there(after: int, held: bool) -> None:
    """Fewer may."""
    trend = judge_rest("tasks", 7, after)
    assert trend is not None
    assert trend.held is held


def test_what_was_not_read_at_rest_is_not_judged() -> None:
    """Elsewhere than on Linux nothing is known of files."""
    assert judge_rest("file descriptors", None, None) is None


def test_nothing_may_be_lost() -> None:
    """Not one event."""
    assert judge_loss("events lost", 0).held is True
    assert judge_loss("events lost", 1).held is False


# What a session was told


def told(ledger: Ledger, what: str, seq: int, **fields: Any) -> None:
    """Let the server say something."""
    ledger.take(read_told(json.dumps({"type": what, "seq": seq, **fields}).encode()))


def test_a_number_that_is_missing_is_a_lost_event() -> None:
    """Unless an overload answers for it; what is sent again counts once."""
    ledger = Ledger()
    for seq in (1, 2, 5, 4, 5):
        told(ledger, "streamser.emotion.delta", seq)
    assert ledger.lost_events == 2
    told(ledger, "streamser.overload", 9, kind="deltas", dropped=4)
    assert ledger.lost_events == 2
    assert ledger.last == 9
    assert ledger.left_out == 4


@pytest.mark.parametrize(("asr", "lost"), [(None, 0), ("whisper", 1)])
def test_an_utterance_lacks_a_final_until_all_of_it_has_come(asr: str | None, lost: int) -> None:
    """With words that is the transcript as well; a failure is an answer, and counted."""
    ledger = Ledger()
    told(ledger, "session.created", 1, session={"models": {"asr": asr, "emotion": "compact"}})
    told(ledger, "input_audio_buffer.committed", 2, item_id="a")
    told(ledger, "input_audio_buffer.committed", 3, item_id="b")
    assert ledger.lost_finals == 2
    told(ledger, "streamser.emotion.completed", 4, item_id="a")
    told(ledger, "conversation.item.input_audio_transcription.failed", 5, item_id="b")
    assert ledger.lost_finals == lost
    assert ledger.failed == 1


def test_a_session_says_whether_somebody_speaks_and_where_to_go_on() -> None:
    """What is no event is no reason to stop."""
    ledger = Ledger()
    told(ledger, "input_audio_buffer.speech_started", 1)
    assert ledger.speaking
    told(ledger, "input_audio_buffer.speech_stopped", 2)
    assert not ledger.speaking
    told(ledger, "streamser.session.resumed", 3, received_frames=16_000)
    assert ledger.received == 16_000
    ledger.take(read_told(b"\xff nonsense"))
    assert ledger.lost_events == 0


# What is read


@linux
def test_the_size_of_a_process_is_read_with_its_threads_and_files() -> None:
    """One more open file is one more descriptor."""
    before = read_process(os.getpid())
    with Path(os.devnull).open():
        after = read_process(os.getpid())
    assert before is not None
    assert after is not None
    assert after.descriptors == before.descriptors + 1
    assert 0 < after.private_mib <= after.rss_mib
    assert after.threads >= 1


def test_a_process_that_is_not_there_has_no_size(tmp_path: Path) -> None:
    """Nor has one that has ended and still has a number."""
    assert read_process(1, tmp_path) is None
    (tmp_path / "1" / "fd").mkdir(parents=True)
    (tmp_path / "1" / "stat").write_text(f"1 (gone) Z {' 0' * 40}")
    (tmp_path / "1" / "status").write_text("Name:\tgone\nState:\tZ (zombie)\nThreads:\t1\n")
    assert read_process(1, tmp_path) is None


def test_a_server_that_does_not_answer_gives_no_reading() -> None:
    """What is missing is not taken for none."""
    assert Watch("ws://127.0.0.1:1", None, 8).read() is None


# The report


def test_a_server_that_stays_as_it_is_is_held() -> None:
    """Every measure has its verdict."""
    assert report().held
    assert all(trend.held for trend in report().trends if trend.name != "private memory")


def test_a_server_that_grows_is_not_held_in_any_measure() -> None:
    """Four MiB, threads, descriptors and tasks an hour: under load and at rest."""
    missed = [trend.name for trend in report(grow=4).trends if trend.held is False]
    assert missed == [
        "resident memory",
        *("threads", "threads, at rest"),
        *("file descriptors", "file descriptors, at rest"),
        *("asyncio tasks", "asyncio tasks, at rest"),
    ]
    assert not report(grow=4).held


def test_what_was_lost_is_not_held() -> None:
    """Nor who has left and is still counted."""
    tally = Tally(lost_events=1, lost_finals=2, failed=3, broken=4)
    read = readings()
    rests = (at_rest(read[0]), read[-1])
    missed = [each.name for each in trends_of(read, rests, tally, 1.0) if each.held is False]
    assert missed == [
        "clients counted though they had left",
        *("events lost", "finals lost", "utterances failed", "sessions broken"),
    ]


def test_markdown_says_what_was_missed_on_which_machine() -> None:
    """With the picture, the command and what the words mean."""
    text = markdown(soak_page(report(grow=4)), Path("soak.png"))
    for part in (
        "MISSED: resident memory",
        "a processor, 2 cores",
        "asr.engine=none",
        "100 begun",
        "(soak.png)",
        "| child 1 | 200.0 | 204.0 |",
        *DEFINITIONS,
    ):
        assert part in text
    assert "\nHeld.\n" in markdown(soak_page(report()))


def test_a_report_is_drawn_even_where_memory_was_not_measured(tmp_path: Path) -> None:
    """A server elsewhere tells only of its tasks."""
    pytest.importorskip("matplotlib")
    bare = tuple(Reading(minutes=at, tasks=70) for at in HOUR)
    plot_soak(report(), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    plot_soak(report(readings=bare), tmp_path / "b.svg")
    assert (tmp_path / "b.svg").read_text("utf-8").lstrip().startswith("<?xml")


# The command


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ("--speed 9", ("--speed 9", "server.speed")),
        ("--pid 1", ("--pid", "--server")),
        ("--server nowhere", ("--server", "no address of a server")),
        ("--server ws://127.0.0.1:1 --asr none", ("asr.engine", "--server")),
        ("--emotion-only --asr whisper", ("--emotion-only", "--asr")),
        ("--plot picture.doc", ("--plot", ".png")),
        ("--json no/such/folder/a.json", ("--json", "does not exist")),
        ("--recordings no/such/folder", ("--recordings", "not a folder")),
    ],
)
def test_wrong_use_is_refused_in_one_line(options: str, parts: tuple[str, ...]) -> None:
    """Before a server is started."""
    refuses(run("soak", *options.split()), 2, *parts)


def test_seconds_of_a_soak_have_everything_that_hours_have(tmp_path: Path) -> None:
    """Sessions of all three endings, listeners that leave, rests, a verdict on every measure."""
    file = tmp_path / "soak.json"
    length = ("--warm-up", "0.1", "--minutes", "0.4", "--renew", "0.1", "--every", "1")
    options = ("--emotion-only", "--streams", "3", "--speed", "8", "--bound", "100000", *length)
    soaking = start("soak", *options, "--json", file, "--token", "a-token-of-16-signs")
    out, err = soaking.communicate(timeout=150)
    found = msgspec.json.decode(file.read_bytes(), type=SoakReport)
    models = {"vad": "silero", "asr": None, "asr_arithmetic": None, "emotion": "compact"}
    assert found.models == models
    tally = found.tally
    assert min(tally.finished, tally.vanished, tally.resumed, tally.listeners, tally.pauses) > 0
    assert (tally.lost_events, tally.lost_finals, tally.failed, tally.broken) == (0, 0, 0, 0)
    for rest in found.rests:
        assert (rest.streams, rest.listeners) == (0, 0)
        assert rest.tasks is not None
        assert rest.tasks < 8
    assert found.readings[-1].minutes >= 0.5
    assert {"asyncio tasks", "asyncio tasks, at rest"} <= {trend.name for trend in found.trends}
    assert soaking.returncode == (0 if found.held else 1), err
    assert "a-token-of-16-signs" not in file.read_text("utf-8") + out + err
