"""What others told of meetings: as a record, and as a table beside ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from streamser.errors import ConfigError
from tools.reporting import Provenance, Section, Table
from tools.speakers.meetings import FEW, Cell
from tools.speakers.peers.answers import PeerJudged
from tools.speakers.scoring import Figures, total

__all__ = [
    "PeersReport",
    "compared",
    "heard_by_all",
    "peers_rows",
    "peers_section",
    "read_peers",
    "row",
]

_HEADS: Final = (
    "meetings",
    "neutral: DER, collar 0 / .25",
    "count right",
    "labels a person",
    "emotions: DER, collar 0 / .25",
    "count right",
    "labels a person",
)


class PeersReport(Provenance, frozen=True, kw_only=True):
    """Hold what others told of meetings; ``versions`` are what they are, by name."""

    part: str
    count: int
    versions: dict[str, str]
    judged: tuple[PeerJudged, ...]


def read_peers(file: Path, part: str, seed: int) -> PeersReport:
    """Read a report written by ``--json``.

    Raises ``ConfigError`` for what is none, or one of other voices or another seed.
    """
    try:
        found = msgspec.json.decode(file.read_bytes(), type=PeersReport)
    except OSError as error:
        raise ConfigError(f"--peers {file}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"--peers {file}: no report of python -m tools.speakers.peers --json ({error})"
        ) from None
    if (found.part, found.seed) != (part, seed):
        raise ConfigError(
            f"--peers {file}: of meetings that {found.part}, seed {found.seed}; these {part}, seed"
            f" {seed}: make it anew with the same"
        )
    return found


def peers_section(report: PeersReport) -> Section:
    """Lay out what others told, of two to four people."""
    number = len({each.name for each in report.judged})
    facts = (*report.origin, f"{number} meetings; voices that {report.part}")
    cells = [each.cell for each in report.judged]
    return Section(facts=facts, tables=(compared(cells, peers_rows(report), ""),))


def compared(cells: Iterable[Cell], rows: Sequence[tuple[str, ...]], title: str) -> Table:
    """Make a table of ``row``s; ``cells`` are those of the meetings."""
    sizes = sorted({each.people for each in cells if each.people <= FEW})
    head = f"{', '.join(map(str, sizes))} people"
    return Table((head, *_HEADS), tuple(rows), title, "lrrrrrrr")


def heard_by_all(report: PeersReport) -> frozenset[str]:
    """Return the names of the meetings that each program has heard with each setting."""
    ways: dict[tuple[str, str], set[str]] = {}
    for each in report.judged:
        ways.setdefault((each.peer, each.setting), set()).add(each.name)
    return frozenset(set.intersection(*ways.values())) if ways else frozenset()


def peers_rows(
    report: PeersReport, among: Callable[[str], bool] = lambda _: True
) -> tuple[tuple[str, ...], ...]:
    """Return a row for each program and setting, over those meetings whose names are ``among``."""
    chosen = [each for each in report.judged if among(each.name)]
    ways = list(dict.fromkeys((each.peer, each.setting) for each in chosen))
    return tuple(
        row(
            f"{report.versions[peer]}, {setting}",
            [(e.cell, e.figures) for e in chosen if (e.peer, e.setting) == (peer, setting)],
        )
        for peer, setting in ways
    )


def row(name: str, figures: Sequence[tuple[Cell, Figures]]) -> tuple[str, ...]:
    """Lay out figures of two to four people: neutral, and with emotions."""
    few = [(cell, each) for cell, each in figures if cell.people <= FEW]
    cells = [name, str(len(few))]
    for emotions in (False, True):
        found = total(each for cell, each in few if cell.emotions == emotions)
        if not found.meetings:
            cells += ["", "", ""]
            continue
        cells.append(" / ".join(f"{times.der:.3f}" for times in found.times))
        cells.append(f"{found.counted / found.meetings:.2f}")
        cells.append(f"{found.labels / found.people:.2f}")
    return tuple(cells)
