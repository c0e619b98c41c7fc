"""EmotionML: valid by the Recommendation's rules, and what was judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamser.events import EmotionCompleted
from streamser.export.emotionml import to_emotionml
from streamser.export.records import Recording, replace_audio
from streamser.export.timeline import timeline_of
from streamser.text import flat
from tests.export.emotionml_rules import EML, check
from tests.export.script import ODD, Script, gathered, odd_texts

OURS = "{urn:streamser:export:1}"


def written(recording: Recording, *, one_clock: bool = False) -> ET.Element:
    """Write a document, check it, and parse it."""
    document = to_emotionml(timeline_of(recording, one_clock=one_clock))
    assert check(document) == []
    return ET.fromstring(document)


def test_a_real_session_is_valid_and_complete(demo: Recording) -> None:
    """Each utterance has its emotion and its traces, at its place in the sound."""
    root = written(demo)
    emotions = {each.get("id"): each for each in root.findall(f"{EML}emotion")}
    assert set(emotions) == {
        name
        for number, each in enumerate(demo.utterances, 1)
        for name in (f"u{number}", *([f"u{number}.trace"] if each.readings else []))
    }
    for number, utterance in enumerate(demo.utterances, 1):
        element, body = emotions[f"u{number}"], utterance.emotion
        assert body is not None
        assert element.get("offset-to-start") == str(utterance.start_ms)
        assert element.get("duration") == str(utterance.end_ms - utterance.start_ms)
        probabilities = {
            each.get("name"): float(each.get("confidence", "nan"))
            for each in element.findall(f"{EML}category")
        }
        assert probabilities == pytest.approx(body.scores, abs=1e-4)
        values = {
            each.get("name"): 2 * float(each.get("value", "nan")) - 1
            for each in element.findall(f"{EML}dimension")
        }
        assert values["valence"] == pytest.approx(body.dimensions.valence, abs=2e-4)
        assert values["potency"] == pytest.approx(body.dimensions.dominance, abs=2e-4)
        reference = element.find(f"{EML}reference")
        assert reference is not None
        span = f"#t={utterance.start_ms / 1000:g},{utterance.end_ms / 1000:g}"
        assert reference.get("uri", "").endswith(f"demo.wav{span}")


def test_traces_are_the_readings_at_two_a_second() -> None:
    """Each is held until the next, from the first on to the end of the utterance."""
    script = Script()
    item = script.begin(0)
    script.read(item, 0, 1000, "a", "happy")
    script.read(item, 0, 2000, "a b", "sad")
    script.stop(item, 3200)
    body = script.emotion(0, 3200, "sad")
    script.tell(EmotionCompleted, item_id=item, emotion=body)
    root = written(gathered(script.close()))
    trace = root.find(f"{EML}emotion[@id='u1.trace']")
    assert trace is not None
    assert (trace.get("offset-to-start"), trace.get("duration")) == ("1000", "2200")
    samples = {
        each.get("name"): each[0].get("samples", "").split()
        for each in trace.findall(f"{EML}category")
    }
    assert samples["happy"] == ["0.7000", "0.7000", "0.1000", "0.1000", "0.1000"]
    assert samples["sad"] == ["0.0500", "0.0500", "0.6500", "0.6500", "0.6500"]


def test_a_failed_utterance_has_no_emotion() -> None:
    """The language knows none that is empty; the readings before stay."""
    script = Script()
    script.fail(1000, 2000)
    item = script.begin(3000)
    script.read(item, 3000, 4000, "half")
    root = written(gathered(script.events))
    assert [each.get("id") for each in root.findall(f"{EML}emotion")] == ["u2.trace"]
    assert written(gathered(Script().close())).findall(f"{EML}emotion") == []


def test_a_model_that_knows_no_dimension_or_no_category_is_valid() -> None:
    """What was not measured is not there."""
    script = Script()
    script.say(1000, 2000)
    recording = gathered(script.close())
    (session,) = recording.sessions
    (utterance,) = session.utterances
    assert utterance.emotion is not None
    cases: tuple[dict[str, Any], ...] = (
        {"dimensions": msgspec.structs.replace(utterance.emotion.dimensions, valence=None)},
        {"scores": {}},
        {"scores": {}, "dimensions": type(utterance.emotion.dimensions)()},
    )
    for changes in cases:
        body = msgspec.structs.replace(utterance.emotion, **changes)
        changed = msgspec.structs.replace(
            session, utterances=(msgspec.structs.replace(utterance, emotion=body),)
        )
        root = written(msgspec.structs.replace(recording, sessions=(changed,)))
        assert len(root.findall(f"{EML}emotion")) == (0 if len(changes) == 2 else 1)


def test_overlapping_speakers_are_each_told() -> None:
    """Who spoke stands beside each emotion."""
    anna, ben = Script("a", speaker="Anna"), Script("b", speaker="Ben")
    anna.say(1000, 5000)
    ben.say(2000, 3000, "no", "angry")
    root = written(gathered(anna.close(), ben.close()), one_clock=True)
    assert [each.get("speaker") for each in root.iter(f"{OURS}utterance")] == ["Anna", "Ben"]
    assert [each.get("id") for each in root.iter(f"{OURS}session")] == ["a", "b"]


def test_labels_of_any_model_are_tokens_and_stay_apart() -> None:
    """Blanks are not allowed in names; no two labels become one."""
    script = Script()
    script.say(1000, 2000, "x", "no agreement", scores={"no agreement": 0.3, "no_agreement": 0.1})
    root = written(gathered(script.close()))
    names = [each.get("name") for each in root.iter(f"{EML}category")]
    assert len(set(names)) == 2
    assert "no_agreement" in names


@given(odd_texts(), odd_texts(), st.sampled_from([*ODD, "a b/ü#?%.wav", "c:d.wav"]))
def test_any_text_is_valid_and_comes_back(text: str, name: str, file: str) -> None:
    """Tags, entities, controls that XML forbids: on one line, else as they were."""
    script = Script(speaker=name, meeting=name)
    script.say(1000, 2000, text)
    sound = Path(flat(file).replace("\x00", "") or "x")
    root = written(replace_audio(gathered(script.close()), sound))
    (told,) = root.iter(f"{OURS}utterance")
    assert (told.text or "") == flat(text)
    assert told.get("speaker") == flat(name)


def test_the_rules_are_noticed_when_they_are_broken(demo: Recording) -> None:
    """A check that finds no fault in anything is none."""
    good = to_emotionml(timeline_of(demo))
    for before, after in {
        'version="1.0" xmlns': 'version="1.1" xmlns',
        'name="neutral" confidence="': 'name="happy" confidence="',
        'confidence="0': 'confidence="1',
        '<item name="sad" />': "",
        'freq="2 Hz"': 'freq="2"',
        'id="u1"': 'id="1"',
        'id="u2"': 'id="u1"',
        'duration="': 'duration="-',
        'role="expressedBy"': 'role="saidBy"',
        "fsre-dimensions": "pad-dimensions",
        "<info>": "<info><emotion/>",
        'uri="': 'uri=" ',
    }.items():
        assert before in good, before
        assert check(good.replace(before, after, 1)), before
