"""``streamser protocol``: the document of all events, from the events themselves."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from streamser.cli.console import as_utf8, for_json
from streamser.errors import StreamserError
from streamser.saving import writing

__all__ = ["protocol"]


def protocol(
    write: Annotated[
        Path | None, typer.Option("--write", metavar="PATH", help="Write it to a file.")
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Only the JSON Schema of all events.")
    ] = False,
) -> None:
    """Print the protocol of all events.

    As Markdown; docs/protocol.md is made by this command.
    """
    from streamser.cli.protocol_document import event_schema, protocol_document

    text = event_schema() + "\n" if schema else protocol_document()
    if write is None:
        (for_json if schema else as_utf8)(sys.stdout).write(text)
        return
    try:
        with writing(write) as file:
            file.write(text.encode())
    except OSError as error:
        raise StreamserError(f"--write {write}: {error.strerror or error}.") from None
