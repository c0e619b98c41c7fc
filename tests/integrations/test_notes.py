from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamser.events import EmotionBody
from streamser.integrations.notes import (
    INSTRUCTIONS,
    UserReading,
    explain_note,
    find_emotion,
    put_note,
    readings_of,
    take_note,
    write_note,
)
from tests.cli.samples import emotion, said


def reading(category: str = "happy", text: str | None = "We did it!", **how: int) -> UserReading:
    """Make a reading of some words."""
    return UserReading(text, emotion(category, **how))


def test_a_note_has_the_form_of_the_standard() -> None:
    """Probable categories, the likeliest first; values between 0 and 1 with .5 in the middle."""
    note = write_note([reading()])
    assert note == "([emotion happy=0.72, neutral=0.16],[arousal value=0.25],[valence value=0.75])"
    assert put_note("We did it!", [reading()]) == f"{note} We did it!"


def test_what_was_not_measured_is_left_out() -> None:
    """A reading of words alone has no arousal."""
    words = UserReading("Well.", emotion(arousal=None))
    assert write_note([words]) == "([emotion happy=0.72, neutral=0.16],[valence value=0.75])"


def test_an_unsure_reading_says_nothing() -> None:
    """Neither alone nor beside a sure one; the message stays as it was."""
    assert put_note("Hm.", [reading("unsure")]) == "Hm."
    assert write_note([reading(), reading("unsure")]) == write_note([reading()])
    assert write_note([]) == ""


def test_several_voices_in_one_message_get_no_note() -> None:
    """It could not say whose it is."""
    ann, bob = (UserReading("Yes.", replace(emotion(), speaker=each)) for each in ("Ann", "Bob"))
    assert write_note([ann, ann])
    assert write_note([ann, bob]) == ""


def test_utterances_of_one_message_count_by_their_length() -> None:
    """Three seconds of joy and one of anger are three parts joy."""
    both = [reading(end=4000), reading("angry", end=2000)]
    assert write_note(both).startswith("([emotion happy=0.57, angry=0.19, neutral=0.16]")


@pytest.mark.parametrize(
    "text", ["Hello.", "(laughs) Hello.", "([sic]) Hello.", "[happy] Hello.", ""]
)
def test_only_a_note_is_taken_out(text: str) -> None:
    """What people say in brackets is theirs."""
    assert take_note(text) == text
    assert take_note(put_note(text, [reading()])) == text
    assert put_note(put_note(text, [reading("sad")]), [reading()]) == put_note(text, [reading()])


@given(st.sampled_from(["happy", "sad", "angry", "neutral"]), st.text(max_size=40))
def test_a_note_never_changes_the_words(category: str, text: str) -> None:
    """Whatever they are: put and taken, they are as before."""
    bare = take_note(text).lstrip()
    assert take_note(put_note(bare, [reading(category)])) == bare


def test_a_strange_label_of_a_plug_in_breaks_no_note() -> None:
    """It cannot end the brackets that it stands in."""
    odd = replace(emotion(), category="a] (b", scores={"a] (b": 1.0})
    note = write_note([UserReading("Oh.", odd)])
    assert note.startswith("([emotion a_b=1.00]")
    assert take_note(f"{note} Oh.") == "Oh."


def test_readings_belong_to_the_message_with_their_words() -> None:
    """In any place of it, note or not; those without words belong to whatever comes."""
    did, well, mute, silent = (reading(text=t) for t in ("We did it!", "Well.", None, ""))
    every = [did, well, mute, silent]
    assert readings_of("So. We did it! Yes.", every) == [did, mute]
    assert readings_of(put_note("Well.", [well]), every) == [well, mute]


class Answer(msgspec.Struct):
    """Look like the answer of a client that keeps what it does not know as attributes."""

    emotion: object


def test_the_emotion_is_found_in_what_the_clients_of_others_keep() -> None:
    """In a mapping or an object; anything else has none."""
    plain = msgspec.to_builtins(emotion())
    for result in ({"emotion": plain}, Answer(plain), Answer(emotion())):
        assert find_emotion(result) == emotion()
    nothing: list[object] = [None, {}, {"emotion": None}, {"emotion": "happy"}, Answer({}), "text"]
    assert [find_emotion(each) for each in nothing] == [None] * len(nothing)
    assert isinstance(find_emotion({"emotion": plain}), EmotionBody)


def test_a_model_is_told_what_notes_mean() -> None:
    """In the instructions once, or with a note that stands by itself."""
    note = write_note([reading()])
    shown = INSTRUCTIONS[INSTRUCTIONS.index("([") :]
    assert take_note(shown).startswith(": what a program guesses")
    assert note in explain_note(note)
    for told in (INSTRUCTIONS, explain_note(note)):
        assert "not as a fact" in told
        assert "0.5 in the middle" in told


def test_the_document_shows_how_to_do_without_a_framework() -> None:
    """Its last snippet makes the message of a transcription."""
    text = (Path(__file__).parents[2] / "docs" / "agents.md").read_text("utf-8")
    *_, snippet = re.findall(r"```python\n(.*?)```", text, re.S)
    made: dict[str, Any] = {}
    exec(snippet, made)
    event = said("We did it!", emotion())
    assert made["message"](event) == put_note("We did it!", [reading()])
    assert INSTRUCTIONS in made["system"]


@pytest.mark.parametrize("framework", ["pipecat", "livekit"])
def test_a_missing_framework_is_told_with_what_installs_it(framework: str) -> None:
    """And what needs none can be used without any."""
    code = (
        "import sys\n"
        "for name in ('loguru', 'pipecat', 'livekit'): sys.modules[name] = None\n"
        "import streamser.integrations.notes\n"
        f"import streamser.integrations.{framework}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"pip install 'streamser[{framework}]'" in done.stderr.splitlines()[-1]
