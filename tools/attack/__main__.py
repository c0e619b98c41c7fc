"""Attack the program in bounded ways, and print what each attack has shown.

``make attack``, or ``python -m tools.attack [--tree FOLDER] [ATTACK ...]``; ``--tree`` is another
checkout, so that figures of before and after can be told. Exit code 1: an attack has succeeded.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.attack.doors import doors
from tools.attack.flood import flood
from tools.attack.foreign import foreign
from tools.attack.plugs import plugs
from tools.attack.resumed import resumed
from tools.attack.row import Row, table
from tools.attack.storms import storms

_ATTACKS: dict[str, Callable[[Path], Iterator[Row]]] = {
    each.__name__: each for each in (flood, storms, resumed, doors, plugs, foreign)
}


def main() -> int:
    """Run the attacks that are named, or all; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.attack", description=__doc__)
    parser.add_argument("--tree", type=Path, default=Path.cwd(), help="the checkout to attack")
    parser.add_argument("attack", nargs="*", help=f"of {', '.join(_ATTACKS)}; all without")
    given = parser.parse_args()
    unknown = set(given.attack) - set(_ATTACKS)
    if unknown:
        parser.error(f"there is no attack {', '.join(sorted(unknown))}")
    began = time.monotonic()
    rows: list[Row] = []
    for name in given.attack or _ATTACKS:
        print(f"{time.monotonic() - began:5.0f} s  {name} ...", file=sys.stderr, flush=True)
        try:
            rows += _ATTACKS[name](given.tree.resolve())
        except (RuntimeError, OSError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            rows.append(Row(name, "could not be carried out", 1, 0))
    print(table(rows))
    failed = sum(not row.ok for row in rows)
    print(f"{len(rows)} figures, {failed} FAILED, {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
