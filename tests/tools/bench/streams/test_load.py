from __future__ import annotations

import json
import os
import random
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from streamser.machine import Machine
from tests.cli.running import refuses
from tests.tools.bench.running import run, start
from tools.bench.conversation import Conversation, Turn
from tools.bench.streams.client import BLOCK_MS, Lap, make_lap, plans, read_told
from tools.bench.streams.load_figures import (
    DEFINITIONS,
    Figures,
    Hangover,
    Latency,
    Receipt,
    StreamLog,
    figures_of,
    latency,
    missing_events,
)
from tools.bench.streams.load_report import (
    LoadReport,
    Step,
    Verdict,
    judge,
    largest_held,
    load_page,
    plot_load,
    read_report,
    tables_of,
)
from tools.bench.streams.server import (
    Gauge,
    Process,
    Use,
    read_metrics,
    read_process,
    use_between,
)
from tools.reporting import markdown

HANGOVER = Hangover(silence_ms=500, heard_ms=512, tail_ms=160)
STOPPED = "input_audio_buffer.speech_stopped"
COMMITTED = "input_audio_buffer.committed"
EMOTION = "streamser.emotion.completed"
WORDS = "conversation.item.input_audio_transcription.completed"
FAILED = "conversation.item.input_audio_transcription.failed"

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


class Script:
    """Write the log of a stream that sent a block every 100 ms from second 100 on."""

    def __init__(self, blocks: int = 200, *, asr: str | None = None) -> None:
        sent = [100.0 + (number + 1) * BLOCK_MS / 1000 for number in range(blocks)]
        self.log = StreamLog(sent=sent, late=[0.001] * blocks)
        self._seq = 0
        models = {"vad": "silero", "asr": asr, "emotion": "compact"}
        session = {"models": models, "silence_ms": 500}
        self.tell(100.0, "session.created", session=session)

    def tell(self, at: float, what: str, /, **fields: Any) -> None:
        """Let the server say something."""
        self._seq += 1
        message = {"type": what, "seq": self._seq, **fields}
        self.log.receipts.append(Receipt(at, read_told(json.dumps(message).encode())))

    def skip(self, events: int) -> None:
        """Let events be lost."""
        self._seq += events

    def stop(self, at: float, item: str, end_ms: int, reason: str = "pause") -> None:
        """Let an utterance end."""
        self.tell(at, STOPPED, item_id=item, audio_end_ms=end_ms, reason=reason)
        self.tell(at, COMMITTED, item_id=item)

    def emotion(self, at: float, item: str, end_ms: int, kind: str = EMOTION) -> None:
        """Let an emotion come."""
        self.tell(at, kind, item_id=item, emotion={"window": {"start_ms": 0, "end_ms": end_ms}})


def judged(*scripts: Script, begin: float = 100.0, end: float = 120.0) -> Figures:
    """Judge the streams of a step."""
    return figures_of([script.log for script in scripts], HANGOVER, begin, end)


def only(found: Latency | None) -> float:
    """Return the one latency there is."""
    assert found is not None
    assert found.n == 1
    return found.most


# What a latency is


def test_a_sample_is_sent_with_the_block_that_holds_it() -> None:
    """The sound before 1000 ms has gone out with the tenth block, and what follows has not."""
    log = Script(blocks=12).log
    assert log.sent_at(1000) == pytest.approx(101.0)
    assert log.sent_at(1001) == pytest.approx(101.1)
    assert log.sent_at(0) == pytest.approx(100.1)
    assert log.sent_at(1201) is None


def test_latency_counts_from_where_speech_ended_and_from_where_the_hangover_did() -> None:
    """Speech ends before the tail; the hangover is as long as whole windows of the detector."""
    script = Script()
    # Speech ends at 3000 ms, sent at 103.0; 3512 ms is in the block that went out at 103.6.
    script.stop(103.61, "a", 3160)
    script.emotion(103.65, "a", 3160)
    figures = judged(script)
    assert only(figures.emotion) == pytest.approx(650)
    assert only(figures.emotion_beyond) == pytest.approx(50)
    assert figures.transcript is None
    assert figures.utterances == 1
    assert figures.losses == ()


def test_a_late_generator_dates_sound_by_when_it_was_really_sent() -> None:
    """A block that went out late makes no server late."""
    script = Script()
    script.stop(103.61, "a", 3160)
    script.emotion(103.65, "a", 3160)
    script.log.sent[35] += 0.04
    assert only(judged(script).emotion_beyond) == pytest.approx(10)


def test_transcripts_and_partials_are_dated_as_emotions_are() -> None:
    """A partial lags behind the end of its window, a transcript behind the end of speech."""
    script = Script(asr="whisper")
    script.emotion(102.53, "a", 2500, kind="streamser.emotion.delta")
    script.stop(103.6, "a", 3160)
    script.tell(103.7, WORDS, item_id="a", audio_end_ms=3160)
    script.emotion(103.7, "a", 3160)
    figures = judged(script)
    assert only(figures.partial) == pytest.approx(30)
    assert only(figures.transcript) == pytest.approx(700)
    assert only(figures.transcript_beyond) == pytest.approx(100)


def test_the_warm_up_and_what_was_cut_give_no_latency() -> None:
    """Only pauses that were over while it was measured count; cuts are counted apart."""
    script = Script()
    for item, end_ms in (("early", 3160), ("counted", 8160), ("after", 15_160)):
        over = 100 + end_ms / 1000 + 0.44
        script.stop(over, item, end_ms)
        script.emotion(over + 0.01, item, end_ms)
    script.stop(109.7, "cut", 9500, reason="max_length")
    script.emotion(109.8, "cut", 9500)
    figures = judged(script, begin=105.0, end=112.0)
    assert (figures.utterances, figures.cut) == (1, 1)
    assert figures.emotion is not None
    assert figures.emotion.n == 1
    assert figures.late_ms is not None
    assert figures.late_ms.n == 70


@pytest.mark.parametrize(
    ("vad", "silence_ms", "heard_ms", "tail_ms"),
    [("silero", 500, 512, 160), ("webrtc", 500, 510, 160), ("other", 200, 200, 100)],
)
def test_the_hangover_is_whole_windows(
    vad: str, silence_ms: int, heard_ms: int, tail_ms: int
) -> None:
    """A detector that hears 32 ms at once notices half a second of silence after 512 ms."""
    found = Hangover.of(vad, silence_ms)
    assert (found.heard_ms, found.tail_ms) == (heard_ms, tail_ms)
    assert Hangover.of(vad, silence_ms, 40).tail_ms == 40


def test_percentiles_are_those_of_the_other_measurements() -> None:
    """They are interpolated as numpy does, and told in ms."""
    chance = random.Random(2)
    seconds = [chance.uniform(0, 1) for _ in range(37)]
    found = latency(seconds)
    assert found is not None
    shares = np.percentile(np.array(seconds) * 1000, [50, 90, 95, 99, 100])
    assert [found.p50, found.p90, found.p95, found.p99, found.most] == pytest.approx(
        shares.tolist(), abs=0.05
    )
    assert latency([]) is None


# What is lost


def test_a_committed_utterance_without_its_final_is_lost() -> None:
    """With words, both finals are owed; a failure that is told is failed, not lost."""
    script = Script(asr="whisper")
    for item, end_ms in (("silent", 3160), ("wordless", 5160), ("failed", 7160)):
        script.stop(100 + end_ms / 1000, item, end_ms)
    script.emotion(106.0, "wordless", 5160)
    script.tell(108.0, FAILED, item_id="failed", audio_end_ms=7160, error={"code": "x"})
    figures = judged(script)
    assert (figures.lost_finals, figures.failed) == (2, 1)
    assert figures.losses == ("2 finals lost", "1 utterances failed")


def test_missing_numbers_are_lost_events_unless_an_overload_answers_for_them() -> None:
    """An overload of deltas has the number of the last that it stands for."""
    script = Script()
    script.skip(2)
    script.tell(101.0, "streamser.overload", kind="deltas", dropped=3)
    assert missing_events(script.log.receipts) == 0
    script.skip(1)
    script.tell(102.0, "streamser.overload", kind="partials", dropped=5)
    assert missing_events(script.log.receipts) == 1
    figures = judged(script)
    assert figures.drops == {"deltas": 3, "partials": 5}
    assert figures.losses == ("1 events lost",)


def test_a_stream_that_broke_is_a_loss() -> None:
    """Whatever else was in time."""
    script = Script()
    script.log.fault = "closed with 1011"
    assert judged(script).losses == ("1 streams broken",)


def test_what_is_no_event_is_ignored() -> None:
    """A newer server may say what it likes."""
    assert read_told(b"not json").type == ""
    assert read_told(b'{"type":"new","emotion":7}').type == ""
    assert read_told(b'{"type":"streamser.new","seq":4,"other":[1]}').seq == 4


# Who is to blame


def figures(p95: float = 20.0, late: float = 1.0, **changed: Any) -> Figures:
    """Make the figures of a step."""

    def flat(ms: float) -> Latency:
        return Latency(n=9, p50=ms, p90=ms, p95=ms, p99=ms, most=ms)

    usual: dict[str, Any] = {
        "utterances": 9,
        "cut": 0,
        "emotion": flat(p95 + 500),
        "emotion_beyond": flat(p95),
        "transcript": None,
        "transcript_beyond": None,
        "partial": flat(30.0),
        "late_ms": flat(late),
        "failed": 0,
        "lost_finals": 0,
        "lost_events": 0,
        "drops": {},
        "left_out": 0,
        "faults": (),
    }
    return Figures(**(usual | changed))


@pytest.mark.parametrize(
    ("found", "held", "why"),
    [
        (figures(150.0), True, "held"),
        (figures(151.0), False, "p95 151 ms > 150 ms"),
        (figures(lost_finals=2), False, "2 finals lost"),
        (figures(151.0, late=40.0), None, "not judged (p95 151 ms > 150 ms): the generator"),
        (figures(lost_events=1, late_ms=None), None, "not judged (1 events lost)"),
        (figures(late=40.0), True, "held, though the generator was late"),
        (figures(emotion_beyond=None), None, "measure longer"),
        (figures(drops={"partials": 9}), True, "held"),
    ],
)
def test_a_server_is_blamed_only_by_a_generator_in_time(
    found: Figures, held: bool | None, why: str
) -> None:
    """The bound and losses decide; a late generator excuses, and never condemns."""
    verdict = judge(found, 150.0)
    assert verdict.held is held
    assert why in verdict.why


# What it costs


def process(busy_s: float, rss_mib: float) -> Process:
    """Return one process of a server; its peak was 10 MiB higher."""
    return Process(
        pid=1,
        busy_s=busy_s,
        rss_mib=rss_mib,
        peak_mib=rss_mib + 10,
        private_mib=rss_mib / 2,
        threads=3,
        descriptors=9,
    )


def test_what_a_server_used_is_what_has_grown_between_two_readings() -> None:
    """Batches and models are counted from the metrics, cores from the processor's time."""
    text = (
        "# HELP streamser_batch_size Jobs\nstreamser_batch_size_sum {0}\n"
        "streamser_batch_size_count {1}\nstreamser_device_busy_seconds_total {2}\n"
        'streamser_audio_seconds_total {3}\nstreamser_drops_total{{kind="partials"}} 2.0\n'
    )
    before = read_metrics(text.format(10.0, 10.0, 1.0, 100.0))
    after = read_metrics(text.format(40.0, 20.0, 1.5, 110.0))
    assert before['streamser_drops_total{kind="partials"}'] == 2.0
    use = use_between(
        Gauge(at=1.0, processes=(process(5.0, 90.0),), metrics=before),
        Gauge(at=11.0, processes=(process(15.0, 60.0), process(5.0, 40.0)), metrics=after),
    )
    assert use == Use(
        cores=1.5,
        front_cores=1.0,
        rss_mib=100.0,
        peak_mib=120.0,
        real_time_factor=0.05,
        batch_mean=3.0,
    )


def test_what_cannot_be_read_is_not_measured(tmp_path: Path) -> None:
    """Without /proc, and with a server that tells nothing, there are no figures, and no fault."""
    assert read_process(1, tmp_path) is None
    assert use_between(Gauge(at=1.0), Gauge(at=2.0)) == Use(
        cores=None, rss_mib=None, peak_mib=None, real_time_factor=None, batch_mean=None
    )


@linux
def test_a_process_is_measured_with_all_its_threads() -> None:
    """Our own process has used some time and some memory."""
    found = read_process(os.getpid())
    assert found is not None
    assert found.busy_s > 0
    assert 0 < found.rss_mib <= found.peak_mib


# What is played


def test_a_lap_is_played_round_and_round_from_anywhere() -> None:
    """Blocks of a stream join to the lap, turned to where the stream entered it."""
    chance = np.random.default_rng(4)
    turn = Turn(chance.uniform(-0.1, 0.1, 30 * 16_001).astype(np.float32), None)
    lap = make_lap(Conversation("noise", 16_000, (turn,), (1.0, 2.0)))
    assert lap.seconds > 120
    frames = len(lap.data) // 2
    played = b"".join(bytes(lap.block(frames - 700, number)) for number in range(4))
    assert len(played) == 4 * 3200
    assert played == lap.data[-1400:] + lap.data[: 4 * 3200 - 1400]
    assert 0.0 <= lap.speech_share < 0.5


def test_streams_begin_where_chance_has_it_and_the_same_in_every_step() -> None:
    """They are not in lockstep; of eight streams, the first four begin as four alone do."""
    lap = Lap("silence", bytes(32_000), 0.0)
    eight = plans(7, 8, lap)
    assert eight[:4] == plans(7, 4, lap)
    assert eight != plans(8, 8, lap)
    assert len({plan.delay_s for plan in eight}) == 8
    assert all(0 <= plan.delay_s <= 1 and 0 <= plan.frame < 16_000 for plan in eight)


# The report


def report(label: str = "compact, words: none", cores: float | None = 0.5) -> LoadReport:
    """Make the report of a run that held four streams."""
    steps = tuple(
        Step(
            streams=streams,
            figures=figures(p95, drops={"partials": streams}),
            use=Use(
                cores=cores,
                rss_mib=100.0,
                peak_mib=101.0,
                real_time_factor=0.02,
                batch_mean=1.5,
            ),
            relative_cost=None if cores is None else 1.0,
            generator_cores=0.02,
            verdict=Verdict(p95 <= 150.0, "held" if p95 <= 150.0 else "p95 180 ms > 150 ms"),
        )
        for streams, p95 in ((1, 20.0), (4, 90.0), (8, 180.0))
    )
    return LoadReport(
        label=label,
        command="python -m tools.bench load --streams 1,4,8",
        seed=1,
        machine=Machine(
            cpu="A CPU", cores=2, system="Linux", python="3.11", streamser="0.1", packages={}
        ),
        server="started for this",
        models={"vad": "silero", "asr": None, "emotion": "compact"},
        settings={"asr.engine": "none"},
        cores=(0,),
        generator_cores=(1,),
        sound="demo",
        lap_s=120.0,
        speech_share=0.71,
        block_ms=100,
        warm_s=5.0,
        seconds=20.0,
        bound_ms=150.0,
        late_limit_ms=20.0,
        hangover=HANGOVER,
        definitions=DEFINITIONS,
        percentiles="type 7",
        steps=steps,
        largest_held=largest_held(steps),
        relative_to=None if cores is None else 1,
        stopped="8 streams: p95 180 ms > 150 ms",
    )


def test_a_report_says_what_was_held_how_it_was_measured_and_by_which_definition() -> None:
    """Whoever reads the Markdown alone can run it again, and knows what the figures are."""
    text = markdown(load_page([report()]), Path("load.png"))
    for part in (
        "Held: 4 streams",
        "Stopped: 8 streams: p95 180 ms > 150 ms",
        "MISSED: p95 180 ms",
        "A CPU",
        "speech 71 %, silence 29 %",
        "python -m tools.bench load --streams 1,4,8 (seed 1)",
        "Cores: server 0, generator 1",
        "partials 8",
        "![p95 beyond the hangover and cost, by streams](load.png)",
        *DEFINITIONS,
    ):
        assert part in text


def test_what_was_not_measured_is_said_and_what_never_came_has_no_table() -> None:
    """Elsewhere than on Linux the cores stay open; without words there is no transcript."""
    titles = [table.title for table in tables_of(report(cores=None))]
    assert not any("transcript" in title for title in titles)
    (cost,) = [table for table in tables_of(report(cores=None)) if table.title == "Cost"]
    assert cost.rows[0][1] == "not measured"


def test_reports_are_read_again_and_joined(tmp_path: Path) -> None:
    """Two configurations stand side by side in one table and one picture."""
    pytest.importorskip("matplotlib")
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file, label in zip(files, ("first", "second"), strict=True):
        file.write_bytes(msgspec.json.encode(report(label)))
        assert read_report(file) == report(label)
    joined = ",".join(map(str, files))
    picture, text = tmp_path / "both.png", tmp_path / "both.md"
    done = run("load", "--join", joined, "--plot", picture, "--markdown", text)
    assert done.exit_code == 0, done.output
    assert "first" in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "![p95 beyond the hangover and cost, by streams](both.png)" in text.read_text("utf-8")


def test_a_plot_without_matplotlib_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is measured."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    refuses(run("load", "--plot", tmp_path / "a.png"), 1, "pip install matplotlib")


def test_a_report_without_any_utterance_can_be_drawn(tmp_path: Path) -> None:
    """Empty lines are drawn as such."""
    pytest.importorskip("matplotlib")
    empty = [replace(step, figures=figures(emotion_beyond=None)) for step in report().steps]
    plot_load([replace(report(), steps=tuple(empty))], tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text("utf-8").lstrip().startswith("<?xml")


# The command


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ("--streams 0", ("--streams", "1 to 10000")),
        ("--streams 1,two", ("--streams", "such as 1,2,4")),
        ("--cores 4095", ("--cores",)),
        ("--server nowhere", ("--server", "no address of a server")),
        ("--server ws://127.0.0.1:1 --asr none", ("asr.engine", "--server")),
        ("--server ws://127.0.0.1:1 --cores 0", ("--cores", "--server")),
        ("--emotion-only --asr whisper", ("--emotion-only", "--asr")),
        ("--asr bogus", ("asr.engine",)),
        ("--set nothing=1", ("nothing",)),
        ("--plot picture.doc", ("--plot", ".png")),
        ("--json no/such/folder/a.json", ("--json", "does not exist")),
        ("--recordings no/such/folder", ("--recordings", "not a folder")),
        ("--join no-such-file.json", ("--join", "no-such-file.json")),
        ("--join a.json --asr none", ("--join", "asr.engine")),
    ],
)
def test_wrong_use_is_refused_in_one_line(options: str, parts: tuple[str, ...]) -> None:
    """Before a server is started."""
    refuses(run("load", *options.split()), 2, *parts)


def test_a_server_that_is_not_there_is_told_in_one_line() -> None:
    """With its address."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{nobody.getsockname()[1]}"
        done = run("load", "--server", url, "--streams", "1")
    assert done.exit_code == 1
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert url in line
    assert "refused" in line


def test_two_steps_of_real_time_give_every_figure(tmp_path: Path) -> None:
    """One stream, then two, of the bundled conversation, to a server of its own process."""
    file = tmp_path / "load.json"
    options = ("--emotion-only", "--streams", "2,1", "--seconds", "2", "--bound", "60000")
    loading = start("load", *options, "--json", file, "--token", "a-token-of-16-signs")
    out, err = loading.communicate(timeout=120)
    assert loading.returncode == 0, err
    found = read_report(file)
    assert [step.streams for step in found.steps] == [1, 2]
    assert found.models == {"vad": "silero", "asr": None, "emotion": "compact"}
    assert (found.settings["asr.engine"], found.block_ms, found.warm_s) == ("none", 100, 1.0)
    assert found.hangover == HANGOVER
    assert 0.3 < found.speech_share < 0.95
    for step in found.steps:
        assert step.figures.losses == ()
        assert step.figures.transcript is None
        assert step.figures.late_ms is not None
        assert step.figures.late_ms.n == pytest.approx(20 * step.streams, abs=step.streams)
    last = found.steps[-1]
    assert last.figures.partial is not None
    assert last.use.batch_mean is not None
    assert last.use.batch_mean >= 1
    assert "a-token-of-16-signs" not in file.read_text("utf-8") + out + err


@linux
def test_ctrl_c_ends_the_server_as_well() -> None:
    """Nothing that was started for the measurement outlives it."""
    loading = start("load", "--emotion-only", "--streams", "1", "--seconds", "600")
    assert loading.stderr is not None
    while "1 stream" not in loading.stderr.readline():
        assert loading.poll() is None
    (server,) = _children(loading.pid)
    loading.send_signal(signal.SIGINT)
    _, err = loading.communicate(timeout=60)
    assert loading.returncode == 130
    assert "Traceback" not in err
    assert _state(server) is None


def _children(parent: int) -> list[int]:
    stats: Mapping[int, list[str] | None] = {
        int(each.name): _state(int(each.name))
        for each in Path("/proc").iterdir()
        if each.name.isdecimal()
    }
    return [pid for pid, fields in stats.items() if fields and fields[1] == str(parent)]


def _state(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
