"""Measure the windows that Whisper hears in, and write the tables of docs/windows.md.

    python -m tools.whisper_windows words --data DIR --model DIR [--write docs/windows.md]
    python -m tools.whisper_windows speed --data DIR --model DIR [--write docs/windows.md]
    python -m tools.whisper_windows distil --data DIR --model DIR --work DIR [--write FILE]

DIR of --data has speech/, emodb/, noise_rir/ and, for ``distil``, cremad_mel/ (labels.csv with path
and text; audio 16 kHz mono), that of --model a Whisper in CTranslate2 form. ``words``: word error
rate, loops, and CPU time of encoder and decoder against what stands behind the utterance; partials,
for which there is no truth, are compared with what the full window hears. German is for models of
many languages. ``speed``: the time of an utterance of 3 s by threads, batch and number format. It
wants a machine with nothing else to do; ``words`` counts CPU time and only needs patience.
``distil``: an encoder is taught to do without the silence, from speech without words, and what is
heard with it is measured. It needs torch, and goes on where it was stopped if --work is the same.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from streamser.errors import StreamserError
from streamser.machine import describe_machine
from tools.whisper_windows.material import SETS
from tools.whisper_windows.speed import speed_table
from tools.whisper_windows.words import Kept, words_table

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Measure what is asked for; print it, and write it between its marks in a document."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.whisper_windows",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", choices=("words", "speed", "distil"))
    parser.add_argument("--data", type=Path, required=True, help="the recordings")
    parser.add_argument("--model", type=Path, required=True, help="a Whisper, a directory")
    parser.add_argument("--sets", default=",".join(SETS), help=f"of words [{','.join(SETS)}]")
    parser.add_argument("--german", type=int, default=40, help="clips of EmoDB [40]")
    parser.add_argument("--partials", type=int, default=60, help="beginnings of clips [60]")
    parser.add_argument("--keep", type=Path, help="a file for what was measured, to go on later")
    parser.add_argument("--work", type=Path, help="a folder for what distil has done so far")
    parser.add_argument("--utterances", type=int, default=240, help="to distil with [240]")
    parser.add_argument("--epochs", type=int, default=6, help="how often each is heard [6]")
    parser.add_argument("--write", type=Path, help="a document with marks for this table")
    asked = parser.parse_args(arguments)
    sets = tuple(asked.sets.split(","))
    if unknown := [name for name in sets if name not in SETS]:
        parser.error(f"unknown set {unknown[0]!r}: choose of {', '.join(SETS)}")
    if asked.part == "distil" and asked.work is None:
        parser.error("distil keeps what it has done in a folder: give one with --work")
    # CTranslate2 reads it when it is imported; CPU time then counts no waiting threads.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        if asked.part == "words":
            table = words_table(
                asked.model, asked.data, sets, asked.german, asked.partials, Kept(asked.keep)
            )
        elif asked.part == "distil":
            from tools.whisper_windows.distil import Settings, distil_table

            settings = Settings(asked.utterances, asked.epochs)
            table = distil_table(
                asked.model, asked.data, sets, asked.partials, settings, asked.work
            )
        else:
            table = speed_table(asked.model, asked.data)
    except StreamserError as error:
        raise SystemExit(f"error: {error}") from None
    machine = describe_machine()
    text = (
        f"{table}\n\nOn {machine.cores} cores of an {machine.cpu}, one thread, unless it is said."
    )
    print(text)
    if asked.write is not None:
        _put(asked.write, f"{asked.part} {asked.model.name}", text)


def _put(document: Path, mark: str, text: str) -> None:
    begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    old = document.read_text(encoding="utf-8")
    if begin not in old or end not in old:
        raise SystemExit(f"error: {document} has no place for this table: write {begin} and {end}")
    new = re.sub(
        f"{re.escape(begin)}.*?{re.escape(end)}",
        lambda _: f"{begin}\n{text}\n{end}",
        old,
        flags=re.DOTALL,
    )
    document.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
