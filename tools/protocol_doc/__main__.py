"""The document of all events, from the events themselves.

python -m tools.protocol_doc --write docs/protocol.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from streamser.cli.console import as_utf8, complain, for_json
from streamser.saving import writing
from tools.protocol_doc.document import event_schema, protocol_document

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the document, or write it to a file; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.protocol_doc")
    parser.add_argument("--write", type=Path, metavar="PATH", help="write it to a file")
    parser.add_argument("--schema", action="store_true", help="only the JSON Schema of all events")
    asked = parser.parse_args(arguments)
    text = event_schema() + "\n" if asked.schema else protocol_document()
    if asked.write is None:
        (for_json if asked.schema else as_utf8)(sys.stdout).write(text)
        return 0
    try:
        with writing(asked.write) as file:
            file.write(text.encode())
    except OSError as error:
        complain(f"--write {asked.write}: {error.strerror or error}.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
