"""Measure the bundled model and write its report: ``python -m tools.compact_report``.

The report is written anew after each section, so that what was measured is never lost.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from streamser.emotion.compact.model import describe, load_compact
from streamser.errors import ConfigError, StreamserError
from streamser.machine import describe_machine
from tools.compact_report.bench import Bench
from tools.compact_report.plan import Plan
from tools.compact_report.records import ModelPrint, Provenance, Report
from tools.compact_report.render import markdown
from tools.compact_report.sections import SECTIONS, chosen_sections

__all__ = ["main"]


class _Options(msgspec.Struct, frozen=True, kw_only=True):
    data: Path
    models: tuple[Path, ...]
    out: Path
    json: Path
    quick: bool
    only: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the evaluation; return the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        _measure(_options(given))
    except StreamserError as error:
        print(f"streamser: {error}", file=sys.stderr)
        return 1
    return 0


def _options(given: Sequence[str]) -> _Options:
    parser = argparse.ArgumentParser(
        prog="python -m tools.compact_report",
        description="Measure a bundled model through the path that ships.",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the real data")
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        action="append",
        help="a bundle's folder; several are seeds of one training, the first is what ships",
    )
    parser.add_argument("--out", type=Path, required=True, help="write the report here (Markdown)")
    parser.add_argument("--json", type=Path, required=True, help="write all figures here")
    parser.add_argument("--quick", action="store_true", help="a little of everything, to try it")
    parser.add_argument(
        "--only", default="", metavar="SECTION,...", help=f"some of {', '.join(SECTIONS)}"
    )
    found = parser.parse_args(given)
    names = (name.strip() for name in found.only.split(","))
    return _Options(
        data=found.data,
        models=tuple(found.model),
        out=found.out,
        json=found.json,
        quick=found.quick,
        only=tuple(name for name in names if name),
    )


def _measure(options: _Options) -> None:
    names = chosen_sections(options.only)
    if not options.data.is_dir():
        raise ConfigError(f"{options.data} is no folder: --data names that of the real data.")
    plan = Plan.small() if options.quick else Plan()
    models = [load_compact(directory, directory.resolve().name) for directory in options.models]
    bench = Bench(options.data, models, options.models, plan)
    report = Report(_provenance(options, plan), {})
    for name in names:
        begun = time.monotonic()
        section = SECTIONS[name](bench)
        taken = round(time.monotonic() - begun, 1)
        report = replace(report, sections=report.sections | {name: replace(section, seconds=taken)})
        _write(report, options)
        print(f"{name}: {taken:.0f} s", file=sys.stderr)


def _provenance(options: _Options, plan: Plan) -> Provenance:
    return Provenance(
        command=_command(options),
        data=options.data.resolve().name,
        quick=plan.quick,
        stream_seeds=plan.stream_seeds,
        replicates=plan.replicates,
        models=tuple(
            ModelPrint(directory.resolve().name, describe(directory).parts)
            for directory in options.models
        ),
        machine=describe_machine(),
    )


def _command(options: _Options) -> str:
    """Return the command; paths by their names alone, for the rest is of somebody's disk."""
    words = ["python -m tools.compact_report", "--data", options.data.resolve().name]
    for directory in options.models:
        words += ["--model", directory.resolve().name]
    words += ["--out", options.out.name, "--json", options.json.name]
    words += ["--quick"] if options.quick else []
    return " ".join([*words, *(["--only", ",".join(options.only)] if options.only else [])])


def _write(report: Report, options: _Options) -> None:
    texts = {
        options.out: markdown(report).encode(),
        options.json: msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n",
    }
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror or error}.") from None


if __name__ == "__main__":
    sys.exit(main())
