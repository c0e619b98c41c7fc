"""Measure this server and those of others: the same conversations, weights, and machine.

    python -m tools.bench_peers --out FILE.json [--servers NAME,…] [--streams N,…] …

Every server is started anew for every count of streams, on two cores which the generator shares;
one stream warms it up. A run that was broken off goes on where it was: what FILE holds is not
measured again. Beside FILE stand its tables, as Markdown. `make bench-peers` installs the others.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from streamser.machine import describe_machine, usable_cores
from tools.bench_peers.clients import CLIENTS
from tools.bench_peers.conversation import Clip, Conversation, Plan, converse, read_clips
from tools.bench_peers.errors import BenchError
from tools.bench_peers.figures import DEFINITIONS, figures_of
from tools.bench_peers.log import StreamLog
from tools.bench_peers.offline import analyzed
from tools.bench_peers.report import Report, Run, Terms, read_report, save
from tools.bench_peers.servers import (
    NAMES,
    Recipe,
    Running,
    digest,
    last_lines,
    recipe,
    running,
    weights_at,
)
from tools.bench_peers.talk import talk
from tools.bench_peers.use import Meter, used

__all__ = ["main"]

_ROOT = Path(__file__).parents[2]
_WARM_S = 6.0
_REST_S = 3.0
_WARM_STREAM = 10_000
"""The seed of the warm-up's conversation, which no measured stream has."""
_SLACK_S = 300.0
"""No run of one count may take longer than its conversation and this."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from a command line; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        _bench(options, shlex.join(sys.argv[1:] if arguments is None else arguments))
    except BenchError as error:
        print(f"bench-peers: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench_peers", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--out", type=Path, required=True, help="the report, JSON; it is resumed")
    parser.add_argument("--data", type=Path, help="recordings (has speech/); or STREAMSER_DATA")
    parser.add_argument("--weights", type=Path, help="CTranslate2 folder of Whisper, for all")
    parser.add_argument("--servers", type=_names, default=NAMES, help=",".join(NAMES))
    parser.add_argument("--streams", type=_counts, default=(1, 2, 4, 8, 12), help="1,2,4,8,12")
    parser.add_argument("--seconds", type=float, default=120.0, help="of conversation a stream")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--frame-ms", type=int, default=40, choices=(20, 40, 50, 100))
    parser.add_argument("--cores", type=_cores, help="numbers; the first two by default")
    parser.add_argument("--places", type=Path, default=_ROOT / ".venv-peers")
    parser.add_argument(
        "--serve", default="--config embedded", help="settings of `streamser serve` (and analyze)"
    )
    parser.add_argument("--logs", type=Path, help="keep there what every stream was shown")
    return parser


def _bench(options: argparse.Namespace, line: str) -> None:
    data = options.data or os.environ.get("STREAMSER_DATA") or _ROOT.parent / "shared" / "data"
    clips = read_clips(Path(data))
    weights = weights_at(options.weights)
    ours = options.serve
    if options.weights is not None:
        ours = f"{ours} --asr-model {shlex.quote(str(weights))}"
    recipes = [recipe(name, options.places, weights, ours) for name in options.servers]
    cores = options.cores or tuple(sorted(usable_cores())[:2])
    if cores:
        # Before any thread: servers inherit them, by which their libraries count cores.
        os.sched_setaffinity(0, cores)
    plan = Plan(seed=options.seed, seconds=options.seconds)
    terms = Terms(
        seed=plan.seed,
        seconds=plan.seconds,
        pause_s=plan.pause_s,
        stagger_s=plan.stagger_s,
        frame_ms=options.frame_ms,
        clips=len(clips),
        weights=digest(weights),
        cores=tuple(cores),
        machine=describe_machine(),
    )
    command = f"python -m tools.bench_peers {line}"
    begun = Report(terms=terms, command=command, definitions=DEFINITIONS)
    report = read_report(options.out, begun)
    # What cannot be written is not worth half an hour.
    save(options.out, report)
    everything = [converse(clips, plan, stream) for stream in range(max(options.streams))]
    if "streamser" in options.servers and not report.has_offline(len(everything)):
        report = msgspec.structs.replace(report, offline=analyzed(everything, ours))
        save(options.out, report)
    for streams in options.streams:
        conversations = everything[:streams]
        for made in recipes:
            if report.has(made.name, streams):
                continue
            run = _measure(made, clips, conversations, options)
            report = report.with_run(run)
            save(options.out, report)
            print(_brief(run), file=sys.stderr, flush=True)


def _measure(
    made: Recipe,
    clips: Sequence[Clip],
    conversations: Sequence[Conversation],
    options: argparse.Namespace,
) -> Run:
    run = Run(
        server=made.name, version=made.version, command=made.shown, streams=len(conversations)
    )
    warm = converse(clips, Plan(seed=options.seed, seconds=_WARM_S, stagger_s=0), _WARM_STREAM)
    with running(made) as server, Meter(server.pid) as meter:
        try:
            _played(made, [warm], options.frame_ms)
            # What the warm-up left behind is not to be in the way.
            time.sleep(_REST_S)
            logs = _played(made, conversations, options.frame_ms)
        except BenchError as error:
            return msgspec.structs.replace(run, failed=f"{error} ({last_lines(server.said)})")
        if options.logs is not None:
            _keep(options.logs, made, server, logs)
    begin = min(log.began for log in logs)
    end = max(log.began + log.utterances[-1].end_s for log in logs)
    return msgspec.structs.replace(
        run, figures=figures_of(logs), use=used(meter.readings, begin, end)
    )


def _played(made: Recipe, conversations: Sequence[Conversation], frame_ms: int) -> list[StreamLog]:
    clients = [CLIENTS[made.name]() for _ in conversations]
    limit = max(each.seconds + each.delay_s for each in conversations) + _SLACK_S

    async def play() -> list[StreamLog]:
        try:
            async with asyncio.timeout(limit):
                return await talk(made.url, clients, conversations, frame_ms)
        except TimeoutError:
            raise BenchError(f"{made.name} did not get through within {limit:.0f} s") from None

    return asyncio.run(play())


def _keep(folder: Path, made: Recipe, server: Running, logs: Sequence[StreamLog]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{made.name}-{len(logs)}"
    (folder / f"{name}.json").write_bytes(msgspec.json.encode(logs))
    (folder / f"{name}.txt").write_bytes(server.said.read_bytes())


def _brief(run: Run) -> str:
    start = f"{run.server}, {run.streams} streams:"
    if run.figures is None:
        return f"{start} {run.failed}"
    found = run.figures
    p50, p95 = found.last_word.p50, found.last_word.p95
    cpu, pss = (None, None) if run.use is None else (run.use.cpu, run.use.pss_mib)
    return (
        f"{start} WER {found.wer:.3f}, last word p50 {p50} p95 {p95} s, lost {found.lost}, cut"
        f" {found.cut} of {found.utterances}, CPU {cpu}, {pss} MiB"
    )


def _listed(read: Callable[[str], object], text: str, what: str) -> list[object]:
    try:
        return [read(each.strip()) for each in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} are no {what}") from None


def _counts(text: str) -> tuple[int, ...]:
    found = [int(str(each)) for each in _listed(int, text, "counts of streams, such as 1,4")]
    if any(count < 1 for count in found):
        raise argparse.ArgumentTypeError(f"{text!r}: one stream at least")
    return tuple(found)


def _cores(text: str) -> tuple[int, ...]:
    found = {int(str(each)) for each in _listed(int, text, "numbers of cores, such as 0,1")}
    missing = found - usable_cores()
    if missing:
        raise argparse.ArgumentTypeError(f"no core {min(missing)} here")
    return tuple(sorted(found))


def _names(text: str) -> tuple[str, ...]:
    found = tuple(each.strip() for each in text.split(","))
    wrong = [each for each in found if each not in NAMES]
    if wrong:
        raise argparse.ArgumentTypeError(f"no server {wrong[0]!r}; there are {', '.join(NAMES)}")
    return found


if __name__ == "__main__":
    sys.exit(main())
