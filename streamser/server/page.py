"""The page that a server gives to browsers, with its files."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Final

import msgspec

_STATED: Final = b"<!-- What this server keeps, where and how long: the server says it. -->"
_TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Asset(msgspec.Struct, frozen=True):
    """Hold a file as it is sent."""

    media_type: str
    body: bytes


def read_page() -> dict[str, Asset]:
    """Read the page's files, by the path under which they are asked for; ``/`` is the page.

    Only what was there at the start can be asked for, so no path leads anywhere else.
    """
    package = Path(__file__).parents[1]
    packed = package / "demo_client"
    # In a checkout the page stands beside the package.
    folder = packed if packed.is_dir() else package.parent / "demo_client"
    assets = {
        f"/{path.relative_to(folder).as_posix()}": Asset(_type_of(path), path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }
    if "/index.html" in assets:
        assets["/"] = assets["/index.html"]
    return assets


def with_statement(page: dict[str, Asset], statement: str) -> dict[str, Asset]:
    """Return the page with what its server says of itself, HTML, before the consent."""
    index = page.get("/index.html")
    if index is None:
        return page
    assert index.body.count(_STATED) == 1, "the page has no place for what is kept"
    body = index.body.replace(_STATED, statement.encode())
    stated = Asset(index.media_type, body)
    return {**page, "/": stated, "/index.html": stated}


def _type_of(path: Path) -> str:
    guessed = mimetypes.guess_type(path.name)[0]
    return _TYPES.get(path.suffix, guessed or "application/octet-stream")
