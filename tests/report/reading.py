"""Read a report back as a browser would: elements, attributes, text."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser

__all__ = ["Element", "find", "parse", "words_of"]

_VOID = {"meta", "link", "br", "img", "input"}
_SVG = {"path", "line", "rect", "circle", "use", "stop", "polyline"}


class Element:
    """Hold an element: its name, attributes and what is in it."""

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.inside: list[Element | str] = []

    def __iter__(self) -> Iterator[Element]:
        for each in self.inside:
            if isinstance(each, Element):
                yield each
                yield from each

    @property
    def classes(self) -> list[str]:
        return self.attributes.get("class", "").split()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        element = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].inside.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in _SVG, tag
        self.handle_starttag(tag, attrs)
        self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].tag == tag, (tag, self._open[-1].tag)
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].inside.append(data)

    def finish(self) -> Element:
        self.close()
        assert self._open == [self.root], [each.tag for each in self._open]
        return self.root


def parse(page: str) -> Element:
    """Parse a page; fail where its elements are not nested as they should be."""
    reader = _Reader()
    reader.feed(page)
    return reader.finish()


def find(root: Element, tag: str = "", **attributes: str) -> list[Element]:
    """Return the elements of a name, a class (``class_``) and attributes (``data_u``)."""
    name = attributes.pop("class_", None)
    wanted = {key.replace("_", "-"): value for key, value in attributes.items()}
    return [
        each
        for each in root
        if (not tag or each.tag == tag)
        and (name is None or name in each.classes)
        and all(each.attributes.get(key) == value for key, value in wanted.items())
    ]


def words_of(element: Element) -> str:
    """Return the text in an element, blanks as one."""
    parts = [each if isinstance(each, str) else f" {words_of(each)} " for each in element.inside]
    return " ".join("".join(parts).split())
