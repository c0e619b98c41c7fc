"""The page of a report: whole, quiet, and safe whatever was said."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings

from streamser.errors import StreamserError
from streamser.events import EmotionDelta, TranscriptionCompleted
from streamser.report.cards import SoundClip, read_clip
from streamser.report.figures import figures_of
from streamser.report.page import render_page
from streamser.text import flat
from tests.export.script import ODD, Script, gathered, odd_texts
from tests.report.reading import Element, find, parse, words_of

LIVE_STYLE = Path(__file__).parents[2] / "demo_client" / "style" / "base.css"

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "'\"><svg/onload=alert(1)>",
    "<!--",
    "]]></style>&lt;b&gt;",
    *ODD,
)


def page_of(*scripts: Script, clips: tuple[SoundClip, ...] = (), one_clock: bool = False) -> str:
    """Make the page of sessions."""
    recording = gathered(*(script.close() for script in scripts))
    return render_page(figures_of(recording, one_clock=one_clock), clips)


def talk() -> Script:
    """Write a session of two voices that overlap."""
    script = Script(source="/home/somebody/talk.wav")
    script.say(1000, 2000, "hello there", "happy", speaker="Anna")
    script.say(1500, 4000, "not so fast", "sad", speaker="Ben")
    return script


def test_the_page_asks_for_nothing() -> None:
    """No address but those inside the page, and a policy that forbids all others."""
    page = page_of(talk())
    root = parse(page)
    for each in root:
        for name in ("src", "href"):
            value = each.attributes.get(name, "#")
            assert value.startswith(("#", "data:")), (each.tag, value)
    assert not re.search(r"@import|url\((?!#)", page)
    (policy,) = find(root, "meta", http_equiv="Content-Security-Policy")
    assert "default-src 'none'" in policy.attributes["content"]


def test_only_our_script_may_run() -> None:
    """The policy names it by its hash."""
    root = parse(page_of(talk()))
    (script,) = find(root, "script")
    (text,) = script.inside
    assert isinstance(text, str)
    (policy,) = find(root, "meta", http_equiv="Content-Security-Policy")
    digest = b64encode(sha256(text.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy.attributes["content"]


def test_every_utterance_is_in_the_transcript_and_in_the_charts() -> None:
    """With its words, its reading and its time; marks point to rows that are there."""
    root = parse(page_of(talk()))
    rows = find(root, "li", class_="row")
    assert [row.attributes["id"] for row in rows] == ["u0", "u1"]
    assert "Anna 0:01 happy" in words_of(rows[0])
    assert "hello there" in words_of(rows[0])
    assert "valence +0.50 · arousal −0.25 · uncertainty 0.50" in words_of(rows[0])
    for kind in ("block", "dot", "point"):
        numbers = {each.attributes["data-u"] for each in find(root, class_=kind)}
        assert numbers == {"0", "1"}, kind


def test_it_has_the_sections_that_it_promises() -> None:
    """Each with a heading that names it."""
    root = parse(page_of(talk()))
    titles = {each.attributes["id"]: words_of(each) for each in root if "id" in each.attributes}
    named = [titles[each.attributes["aria-labelledby"]] for each in find(root, "section")]
    assert named == [
        *("What it sounded like, by speaking time", "Over time", "Transcript"),
        *("Valence and arousal", "Speakers", "Shifts of mood", "Distribution", "Uncertainty"),
        "Latency",
    ]


def test_everything_that_acts_or_shows_has_a_name() -> None:
    """For those who hear the page instead of seeing it."""
    root = parse(page_of(talk(), clips=(SoundClip("Sound", "data:audio/wav;base64,"),)))
    for each in root:
        if each.tag == "button" or each.attributes.get("role") in ("img", "group"):
            assert each.attributes.get("aria-label") or words_of(each), each.tag
        if each.tag == "svg" and each.attributes.get("role") != "img":
            inside = [svg for outer in find(root, "svg") for svg in outer]
            assert each.attributes.get("aria-hidden") == "true" or each in inside
    ids = [each.attributes["id"] for each in root if "id" in each.attributes]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("text", HOSTILE)
def test_what_was_said_is_text_and_nothing_else(text: str) -> None:
    """In transcripts, names, titles, categories, notes: markup is shown, never obeyed."""
    script = Script(speaker=text or "x", source=f"{text}.wav")
    script.say(1000, 2000, text, scores={"happy": 0.2, text or "y": 0.5})
    script.say(2000, 3000, text, text or "z", speaker=text or "x")
    script.fail(4000, 5000, text)
    root = parse(page_of(script))
    assert len(find(root, "script")) == len(find(root, "style")) == 1
    assert not find(root, "img")
    assert not [name for each in root for name in each.attributes if name.startswith("on")]
    shown = words_of(find(root, class_="text")[0])
    assert "".join(shown.split()) == _visible(text) or not _visible(text)


def _visible(text: str) -> str:
    return "".join(flat(text).split())


@settings(max_examples=40)
@given(words=odd_texts(), name=odd_texts())
def test_no_text_breaks_the_page(words: str, name: str) -> None:
    """Elements stay nested, and there are as many as with plain words."""

    def tags(said: str, speaker: str) -> list[str]:
        script = Script(speaker=speaker)
        script.say(1000, 2000, said)
        return [each.tag for each in parse(page_of(script))]

    plain = tags("hello" if _visible(words) else words, "Anna")
    assert tags(words, name or "x") == plain


def test_the_same_session_gives_the_same_bytes() -> None:
    """Nothing in the page says when or where it was made."""
    assert page_of(talk()) == page_of(talk())
    assert "/home/somebody" not in page_of(talk())


def test_an_empty_session_is_a_page_too() -> None:
    """It says that nothing was said."""
    root = parse(page_of(Script()))
    assert "Nothing was said." in words_of(root)
    assert not find(root, class_="row")


def test_a_session_without_words_shows_its_readings() -> None:
    """Where nothing is transcribed the emotion stands alone, and no words are counted."""
    script = Script(asr=None)
    script.say(1000, 2000, None, "sad")
    script.say(3000, 4000, "", "sad")
    root = parse(page_of(script))
    first, second = find(root, class_="row")
    assert "not transcribed" in words_of(first)
    assert "no words understood" in words_of(second)
    assert "sad" in words_of(first)
    assert "words" not in [words_of(each) for each in find(root, "dt")]


def test_an_utterance_without_a_result_says_why() -> None:
    """It has a place in the transcript, and none among the readings."""
    script = Script()
    script.fail(1000, 2000, "the queue is full")
    root = parse(page_of(script))
    assert "no result: the queue is full" in words_of(find(root, class_="row")[0])
    assert "Not complete" in words_of(root)
    assert not find(root, class_="dot")


def test_words_that_were_withheld_are_told_with_their_reason() -> None:
    """In the words of the terminal, in place of the text."""
    script = Script(speaker="Ann")
    script.say(1000, 2000, "")
    events = [
        msgspec.structs.replace(event, distrusted="low_logprob")
        if isinstance(event, TranscriptionCompleted)
        else event
        for event in script.close()
    ]
    root = parse(render_page(figures_of(gathered(events))))
    (text,) = find(root, class_="text")
    assert words_of(text) == "words withheld: too unclear"


def test_one_who_speaks_alone_is_not_told_twice() -> None:
    """What a card of speakers would say stands in the summary."""
    script = Script(speaker="Ann")
    script.say(1000, 2000, "well")
    assert "Speakers" not in [words_of(each) for each in find(parse(page_of(script)), "h2")]


def test_overlapping_speakers_have_lanes_of_their_own() -> None:
    """And the time they spoke at once is told."""
    root = parse(page_of(talk()))
    heights = {
        each.attributes["data-u"]: each.attributes["y"] for each in find(root, class_="block")
    }
    assert heights["0"] != heights["1"]
    facts = dict(zip(find(root, "dt"), find(root, "dd"), strict=True))
    told = {words_of(name): words_of(value) for name, value in facts.items()}
    assert told["at once"] == "0.5 s"


def test_who_was_not_told_apart_is_not_counted() -> None:
    """A recording of three that nobody has told apart is not one speaker's."""
    script = Script()
    script.say(1000, 2000)
    root = parse(page_of(script))
    assert "speakers" not in [words_of(each) for each in find(root, "dt")]
    assert not find(root, class_="person")
    named = parse(page_of(talk()))
    assert "speakers" in [words_of(each) for each in find(named, "dt")]


def test_without_sound_there_is_no_player() -> None:
    """Nor anything that promises one."""
    root = parse(page_of(talk()))
    assert not find(root, "audio")
    assert not find(root, "button", class_="hear")


def test_utterances_name_their_place_in_the_sound() -> None:
    """Of one sound for all, or of each session's own, on its own clock."""
    whole = parse(page_of(talk(), clips=(SoundClip("Sound", "data:audio/wav;base64,"),)))
    row = find(whole, class_="row")[1].attributes
    assert (row["data-clip"], row["data-from"], row["data-to"]) == ("0", "1500", "4000")
    assert len(find(whole, "button", class_="hear")) == 2
    scripts = [Script("a", speaker="Anna"), Script("b", speaker="Ben")]
    for script in scripts:
        script.say(1000, 2000)
    clips = (SoundClip("Ben", "data:audio/wav;base64,", "b"),)
    rows = find(parse(page_of(*scripts, clips=clips, one_clock=True)), class_="row")
    assert ["data-clip" in each.attributes for each in rows] == [False, True]


def test_sound_goes_into_the_page_as_it_is(tmp_path: Path) -> None:
    """If browsers play it and it is not too big."""
    file = tmp_path / "talk.flac"
    file.write_bytes(b"fLaC")
    assert read_clip(file, "x").uri == "data:audio/flac;base64,ZkxhQw=="
    strange = tmp_path / "talk.aiff"
    strange.write_bytes(b"")
    with pytest.raises(StreamserError, match=r"ffmpeg -i talk\.aiff"):
        read_clip(strange, "x")
    with (tmp_path / "big.wav").open("wb") as big:
        big.truncate(200_000_000)
    with pytest.raises(StreamserError, match="200 MB"):
        read_clip(tmp_path / "big.wav", "x")
    with pytest.raises(StreamserError, match="No such file"):
        read_clip(tmp_path / "none.wav", "x")


def test_hours_of_talk_stay_small() -> None:
    """Four hours with readings twice a second: charts do not grow with them."""
    script = Script()
    for number in range(1200):
        start = number * 12_000
        item = script.begin(start)
        for step in range(16):
            script.tell(
                EmotionDelta,
                item_id=item,
                emotion=script.emotion(start, start + 500 * (step + 1)),
            )
        script.stop(item, start + 8000)
        script.say(start, start + 8000, "some words that somebody said in a meeting")
    page = page_of(script)
    assert len(find(parse(page), class_="row")) == 2400
    assert len(page) < 4_000_000


def test_the_colours_are_those_of_the_live_page() -> None:
    """One family: a category has one colour wherever it is seen."""
    live = LIVE_STYLE.read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"(--[a-z0-9-]+): (#[0-9a-f]+);", block))
        for block in re.findall(r":root[^{]*\{(.*?)\n\}", live, re.S)[:2]
    )
    ours = re.findall(r"(--[a-z0-9-]+): light-dark\((#[0-9a-f]+), (#[0-9a-f]+)\)", page_of(talk()))
    assert len(ours) > 20
    for name, day, night in ours:
        assert (light[name], dark[name]) == (day, night), name


def test_the_wording_is_about_sound_not_about_people() -> None:
    """As on the live page: a reading is a guess, and not a fact about anybody."""
    (footer,) = find(parse(page_of(talk())), "footer")
    words = words_of(footer)
    assert "guesses about how speech sounds" in words
    assert "not facts about what people feel or are" in words
    assert "AI Act" in words


def test_the_reader_of_these_tests_notices_bad_nesting() -> None:
    """A test must be able to fail."""
    with pytest.raises(AssertionError):
        parse("<div><p></div></p>")
    assert isinstance(parse("<p>x</p>"), Element)
