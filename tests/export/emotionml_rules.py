"""Check documents against the rules of EmotionML 1.0; written from the Recommendation alone.

The numbers in the messages are those of the assertions of its implementation report, where
there is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from xml.etree import ElementTree as ET

__all__ = ["EML", "check"]

EML: Final = "{http://www.w3.org/2009/10/emotionml}"
_VOC: Final = "http://www.w3.org/TR/emotion-voc/xml#"
_SETS: Final = {
    "big6": "anger disgust fear happiness sadness surprise",
    "pad-dimensions": "pleasure arousal dominance",
    "fsre-dimensions": "valence potency arousal unpredictability",
    "intensity-dimension": "intensity",
}
_DESCRIPTORS: Final = ("category", "dimension", "appraisal", "action-tendency")
_ATTRIBUTES: Final = {
    "emotionml": "version category-set dimension-set appraisal-set action-tendency-set",
    "vocabulary": "type id",
    "item": "name",
    "info": "id",
    "emotion": (
        "version id start end duration time-ref-uri time-ref-anchor-point offset-to-start"
        " expressed-through category-set dimension-set appraisal-set action-tendency-set"
    ),
    "category": "name value confidence",
    "dimension": "name value confidence",
    "trace": "freq samples",
    "reference": "uri role media-type",
}
_CHILDREN: Final = {
    "emotionml": ("info", "vocabulary", "emotion"),
    "vocabulary": ("info", "item"),
    "item": ("info",),
    "emotion": (*_DESCRIPTORS, "reference", "info"),
    "category": ("trace",),
    "dimension": ("trace",),
    "trace": (),
    "reference": (),
}
_ID: Final = re.compile(r"[^\W\d][\w.-]*")
_TOKEN: Final = re.compile(r"[\w.:-]+")


def check(document: str) -> list[str]:
    """Return what is wrong with a document, a line each; raises where it is no XML."""
    root = ET.fromstring(document.encode())
    return list(_faults(root))


def _faults(root: ET.Element) -> Iterator[str]:
    if root.tag != f"{EML}emotionml":
        yield f"101: the root is {root.tag}"
        return
    if root.get("version") != "1.0":
        yield "110, 111: the version is not 1.0"
    yield from _structure(root)
    yield from _ids(root)
    sets = {
        f"{_VOC}{name}": (set(words.split()), "dimension" if "dimension" in name else "category")
        for name, words in _SETS.items()
    }
    for vocabulary in root.findall(f"{EML}vocabulary"):
        kind, name = vocabulary.get("type"), vocabulary.get("id")
        if kind not in _DESCRIPTORS or name is None:
            yield "a vocabulary needs a type and an id"
        items = [item.get("name", "") for item in vocabulary.findall(f"{EML}item")]
        if not items or len(set(items)) != len(items):
            yield "a vocabulary has items, and no two of one name"
        yield from (f"{item!r} is no token" for item in items if not _is_token(item))
        sets[f"#{name}"] = (set(items), str(kind))
    if len(root.findall(f"{EML}info")) > 1:
        yield "105: more than one <info>"
    for emotion in root.findall(f"{EML}emotion"):
        yield from _emotion(emotion, root, sets)


def _structure(element: ET.Element) -> Iterator[str]:
    name = element.tag.removeprefix(EML)
    if name == "info":
        for inner in element.iter():
            if inner is not element and inner.tag.startswith(EML):
                yield "<info> holds an element of EmotionML's own"
            if inner is not element and not inner.tag.startswith("{"):
                yield "<info> holds an element of no namespace"
        return
    if name not in _ATTRIBUTES:
        yield f"there is no element {element.tag}"
        return
    for attribute in set(element.keys()) - set(_ATTRIBUTES[name].split()):
        if not attribute.startswith("{"):
            yield f"<{name}> has no attribute {attribute}"
    if name != "emotion" and (element.text or "").strip():
        yield f"<{name}> holds text"
    for child in element:
        if child.tag.removeprefix(EML) not in _CHILDREN.get(name, ()):
            yield f"<{name}> holds <{child.tag}>"
        if (child.tail or "").strip() and name != "emotion":
            yield f"<{name}> holds text"
        yield from _structure(child)


def _ids(root: ET.Element) -> Iterator[str]:
    seen = set()
    for element in root.iter():
        name = element.get("id")
        if name is None or not element.tag.startswith(EML):
            continue
        if not _ID.fullmatch(name):
            yield f"{name!r} is no xsd:ID"
        if name in seen:
            yield f"the id {name!r} is there twice"
        seen.add(name)


def _emotion(
    emotion: ET.Element, root: ET.Element, sets: dict[str, tuple[set[str], str]]
) -> Iterator[str]:
    found = [child for child in emotion if child.tag.removeprefix(EML) in _DESCRIPTORS]
    if not found:
        yield "156: an <emotion> without category, dimension, appraisal or action tendency"
    if len(emotion.findall(f"{EML}info")) > 1:
        yield "155: more than one <info>"
    for kind in ("category", "dimension"):
        described = emotion.findall(f"{EML}{kind}")
        names = [each.get("name") for each in described]
        if len(set(names)) != len(names):
            yield f"a name of a {kind} is there twice: {names}"
        declared = emotion.get(f"{kind}-set") or root.get(f"{kind}-set")
        if described and declared is None:
            yield f"160, 163: no {kind}-set is declared"
        elif described:
            known, of = sets.get(str(declared), (set(), kind))
            if of != kind:
                yield f"{declared} is no set of that type"
            yield from (f"{n} is not in {declared}" for n in names if n not in known)
        for each in described:
            yield from _descriptor(kind, each)
    for attribute in ("start", "end", "duration"):
        value = emotion.get(attribute)
        if value is not None and not re.fullmatch(r"\d+", value):
            yield f"{attribute} is no number of ms: {value}"
    offset = emotion.get("offset-to-start")
    if offset is not None and not re.fullmatch(r"-?\d+", offset):
        yield f"offset-to-start is no integer: {offset}"
    if emotion.get("time-ref-anchor-point") not in (None, "start", "end"):
        yield "time-ref-anchor-point is neither start nor end"
    if emotion.get("time-ref-uri") is not None and not _is_uri(emotion.get("time-ref-uri", "")):
        yield f"time-ref-uri is no URI: {emotion.get('time-ref-uri')}"
    through = emotion.get("expressed-through")
    if through is not None and not (through and all(map(_is_token, through.split()))):
        yield f"expressed-through is no list of tokens: {through}"
    for reference in emotion.findall(f"{EML}reference"):
        if not _is_uri(reference.get("uri", "")):
            yield f"<reference> has no URI: {reference.get('uri')}"
        roles = (None, "expressedBy", "experiencedBy", "triggeredBy", "targetedAt")
        if reference.get("role") not in roles:
            yield f"there is no role {reference.get('role')}"
        media = reference.get("media-type")
        if media is not None and not re.fullmatch(r"[\w.+-]+/[\w.+-]+", media):
            yield f"media-type is none: {media}"


def _descriptor(kind: str, element: ET.Element) -> Iterator[str]:
    if not _is_token(element.get("name", "")):
        yield f"a {kind} has no name"
    traces = element.findall(f"{EML}trace")
    if len(traces) + (element.get("value") is not None) > 1:
        yield f"a {kind} has both a value and a trace, or two traces"
    if kind == "dimension" and not traces and element.get("value") is None:
        yield "a dimension has neither a value nor a trace"
    for attribute in ("value", "confidence"):
        value = element.get(attribute)
        if value is not None and not _in_scale(value):
            yield f"{attribute} is not in [0, 1]: {value}"
    for trace in traces:
        if not re.fullmatch(r"\d+(\.\d+)?\s*Hz", trace.get("freq", "")):
            yield f"freq is none: {trace.get('freq')}"
        samples = trace.get("samples", "").split()
        if not samples or not all(map(_in_scale, samples)):
            yield f"samples are not all in [0, 1]: {samples}"


def _in_scale(value: str) -> bool:
    return bool(re.fullmatch(r"\d+(\.\d+)?", value)) and 0 <= float(value) <= 1


def _is_token(value: str) -> bool:
    return bool(_TOKEN.fullmatch(value))


def _is_uri(value: str) -> bool:
    return bool(re.fullmatch(r"(%[0-9A-Fa-f]{2}|[\w.~:/?#\[\]@!$&'()*+,;=-])+", value, re.ASCII))
