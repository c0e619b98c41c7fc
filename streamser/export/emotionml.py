"""EmotionML 1.0, the W3C's language for emotions (Recommendation of 22 May 2014)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Final
from urllib.parse import quote
from xml.etree import ElementTree as ET

from streamser.events import EmotionBody
from streamser.export.records import Reading, Timeline, UtteranceRecord
from streamser.taxonomy import UNSURE
from streamser.text import flat

_NAMESPACE: Final = "http://www.w3.org/2009/10/emotionml"
_OURS: Final = "urn:streamser:export:1"
_DIMENSION_SET: Final = "http://www.w3.org/TR/emotion-voc/xml#fsre-dimensions"
_DIMENSIONS: Final = {"valence": "valence", "arousal": "arousal", "dominance": "potency"}
_CATEGORY_SET: Final = "categories"
_HZ: Final = 2
"""Samples of a trace a second; readings usually come at this rate."""
_CHANNELS: Final = {"audio": "voice", "text": "text"}
_MEDIA: Final = {
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".wav": "audio/wav",
    ".webm": "audio/webm",
}


def to_emotionml(timeline: Timeline) -> str:
    """Write one ``<emotion>`` an utterance, and one with traces where it was read as it went.

    Categories are of a vocabulary of our own, as no set of the W3C has a neutral one; their
    probabilities are ``confidence``. Dimensions are of the FSRE set (dominance is called
    potency there), moved from [-1, 1] to [0, 1]. Traces are the readings, held at 2 Hz. Who
    spoke and what stands in ``<info>``. An utterance without a result has no ``<emotion>``:
    the language knows none that is empty.
    """
    categories = _names_of(timeline)
    root = ET.Element(
        "emotionml",
        {
            "version": "1.0",
            # Written as they stand: registering prefixes would be for the whole process.
            "xmlns": _NAMESPACE,
            "xmlns:s": _OURS,
            "category-set": f"#{_CATEGORY_SET}",
            "dimension-set": _DIMENSION_SET,
        },
    )
    _describe(root, timeline)
    vocabulary = ET.SubElement(root, "vocabulary", {"type": "category", "id": _CATEGORY_SET})
    for name in categories.values():
        ET.SubElement(vocabulary, "item", {"name": name})
    for number, utterance in enumerate(timeline.utterances, 1):
        _add_final(root, timeline, utterance, f"u{number}", categories)
        _add_traces(root, timeline, utterance, f"u{number}", categories)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _describe(root: ET.Element, timeline: Timeline) -> None:
    info = ET.SubElement(root, "info")
    for session in timeline.sessions:
        facts = {"id": session.session_id}
        models = session.models
        if models is not None:
            facts |= {"vad": models.vad, "emotion": models.emotion}
            facts |= {} if models.asr is None else {"asr": models.asr}
        if session.meeting is not None:
            facts["meeting"] = session.meeting
        if session.began is not None:
            facts["began"] = str(session.began)
        clean = {name: flat(value) for name, value in facts.items()}
        ET.SubElement(info, "s:session", clean)


def _names_of(timeline: Timeline) -> dict[str, str]:
    """Give each category a name that XML takes as a token, none of them twice."""
    bodies = [
        body
        for each in timeline.utterances
        for body in (each.emotion, *(reading.emotion for reading in each.readings))
        if body is not None
    ]
    labels = dict.fromkeys(
        (*timeline.categories, *(name for body in bodies for name in body.scores))
    )
    labels |= dict.fromkeys(body.category for body in bodies if body.category != UNSURE)
    names: dict[str, str] = {}
    for label in labels:
        name = base = "_".join(flat(label).split()) or "category"
        number = 2
        while name in names.values():
            name, number = f"{base}_{number}", number + 1
        names[label] = name
    return names


def _add_final(
    root: ET.Element,
    timeline: Timeline,
    utterance: UtteranceRecord,
    name: str,
    categories: dict[str, str],
) -> None:
    emotion = utterance.emotion
    if emotion is None or not (emotion.scores or _measured(emotion)):
        return
    element = _emotion(root, timeline, utterance, name, utterance.start_ms, emotion)
    info = ET.SubElement(element, "info")
    facts = {
        "session": utterance.session_id,
        "item": utterance.item_id,
        "category": emotion.category,
        "model": emotion.model,
        "uncertainty": _figure(emotion.uncertainty),
    }
    if utterance.speaker is not None:
        facts["speaker"] = utterance.speaker
    said = ET.SubElement(info, "s:utterance", {key: flat(value) for key, value in facts.items()})
    if utterance.transcript:
        said.text = flat(utterance.transcript)
    for label, score in emotion.scores.items():
        values = {"name": categories[label], "confidence": _figure(score)}
        ET.SubElement(element, "category", values)
    for dimension, value in _measured(emotion).items():
        ET.SubElement(element, "dimension", {"name": dimension, "value": _figure((value + 1) / 2)})
    _refer(element, timeline, utterance)


def _add_traces(
    root: ET.Element,
    timeline: Timeline,
    utterance: UtteranceRecord,
    name: str,
    categories: dict[str, str],
) -> None:
    """Write the readings of an utterance as traces from the first of them on."""
    readings = sorted(utterance.readings, key=lambda each: each.emotion.window.end_ms)
    if not readings:
        return
    first = readings[0].emotion
    # What is not in every reading has no trace: one cannot have holes.
    labels = [n for n in first.scores if all(n in each.emotion.scores for each in readings)]
    known = [n for n in _measured(first) if all(n in _measured(r.emotion) for r in readings)]
    if not labels and not known:
        return
    start = first.window.end_ms
    element = _emotion(root, timeline, utterance, f"{name}.trace", start, first)
    info = ET.SubElement(element, "info")
    ET.SubElement(info, "s:readings", {"of": name, "count": str(len(readings))})

    held = [reading.emotion for reading in _held(readings, utterance.end_ms)]
    for label in labels:
        category = ET.SubElement(element, "category", {"name": categories[label]})
        _trace(category, [body.scores[label] for body in held])
    for known_name in known:
        dimension = ET.SubElement(element, "dimension", {"name": known_name})
        _trace(dimension, [(_measured(body)[known_name] + 1) / 2 for body in held])
    _refer(element, timeline, utterance)


def _trace(parent: ET.Element, values: Sequence[float]) -> None:
    samples = " ".join(_figure(value) for value in values)
    ET.SubElement(parent, "trace", {"freq": f"{_HZ} Hz", "samples": samples})


def _held(readings: Sequence[Reading], end_ms: int) -> Iterator[Reading]:
    """Yield the last reading there was at each sample, until the end of the utterance."""
    start = readings[0].emotion.window.end_ms
    index = 0
    for number in range(math.floor(max(0, end_ms - start) * _HZ / 1000) + 1):
        moment = start + number * 1000 / _HZ
        while index + 1 < len(readings) and readings[index + 1].emotion.window.end_ms <= moment:
            index += 1
        yield readings[index]


def _emotion(
    root: ET.Element,
    timeline: Timeline,
    utterance: UtteranceRecord,
    name: str,
    start_ms: int,
    emotion: EmotionBody,
) -> ET.Element:
    """Begin an ``<emotion>`` that lasts from ``start_ms`` to the end of the utterance."""
    sound = timeline.sound
    place = f"urn:streamser:{quote(utterance.session_id)}" if sound is None else _uri(sound)
    values = {
        "id": name,
        "time-ref-uri": place,
        "time-ref-anchor-point": "start",
        "offset-to-start": str(start_ms),
        "duration": str(max(0, utterance.end_ms - start_ms)),
    }
    through = " ".join(_CHANNELS[each] for each in emotion.modalities if each in _CHANNELS)
    if through:
        values["expressed-through"] = through
    return ET.SubElement(root, "emotion", values)


def _refer(element: ET.Element, timeline: Timeline, utterance: UtteranceRecord) -> None:
    """Point to the stretch of sound that an emotion was heard in."""
    sound = timeline.sound
    if sound is None:
        return
    span = f"t={utterance.start_ms / 1000:g},{utterance.end_ms / 1000:g}"
    values = {"uri": f"{_uri(sound)}#{span}", "role": "expressedBy"}
    media = _MEDIA.get(PurePath(sound).suffix.lower())
    if media is not None:
        values["media-type"] = media
    ET.SubElement(element, "reference", values)


def _uri(sound: str) -> str:
    path = PurePath(sound)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())


def _measured(emotion: EmotionBody) -> dict[str, float]:
    """Return the dimensions that have a value, by their names in the set."""
    values = {theirs: getattr(emotion.dimensions, ours) for ours, theirs in _DIMENSIONS.items()}
    return {name: value for name, value in values.items() if value is not None}


def _figure(value: float) -> str:
    """Write a value of the interval that the language has for everything."""
    return f"{min(1.0, max(0.0, value)):.4f}"
