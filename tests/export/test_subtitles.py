"""Subtitles say what was said, how, and by whom."""

from __future__ import annotations

import re

import pytest
from hypothesis import given

from streamser.events import Event
from streamser.export.records import Recording
from streamser.export.subtitles import cues_of, to_srt, to_vtt, width
from streamser.export.timeline import timeline_of
from streamser.text import flat
from tests.export.parsers import Shown, parse_srt, parse_vtt
from tests.export.script import Script, gathered, odd_texts


def test_a_real_session_has_a_cue_for_each_utterance(demo: Recording) -> None:
    """Spans, words and emotions are those of the utterances."""
    timeline = timeline_of(demo)
    cues = parse_vtt(to_vtt(timeline))
    assert len(cues) == len(timeline.utterances)
    for cue, utterance in zip(cues, timeline.utterances, strict=True):
        assert utterance.emotion is not None
        category = utterance.emotion.category
        assert (cue.start, cue.end) == (utterance.start_ms, utterance.end_ms)
        assert cue.text == f"[{category}] {utterance.transcript or ''}".strip()
        assert cue.classes == (category,)
    assert [(c.start, c.end, c.text) for c in parse_srt(to_srt(timeline))] == [
        (c.start, c.end, c.text) for c in cues
    ]


def test_speakers_are_voices_and_names() -> None:
    """WebVTT has a tag for them; SubRip has none, and says them."""
    script = Script(speaker="Anna & <Ben>")
    script.say(1000, 2000, "hi")
    timeline = timeline_of(gathered(script.close()))
    assert parse_vtt(to_vtt(timeline)) == [
        Shown(1000, 2000, "[happy] hi", "Anna & <Ben>", ("happy",))
    ]
    assert parse_srt(to_srt(timeline)) == [Shown(1000, 2000, "[happy] Anna & <Ben>: hi")]


def test_two_who_speak_at_once_are_both_shown() -> None:
    """Cues may overlap; they come in the order of their beginnings."""
    anna, ben = Script("a", speaker="Anna"), Script("b", speaker="Ben")
    anna.say(1000, 5000, "a long one")
    ben.say(2000, 3000, "no", "angry")
    anna.say(6000, 7000, "well")
    timeline = timeline_of(gathered(anna.close(), ben.close()), one_clock=True)
    cues = parse_vtt(to_vtt(timeline))
    assert [(cue.voice, cue.start, cue.end) for cue in cues] == [
        ("Anna", 1000, 5000),
        ("Ben", 2000, 3000),
        ("Anna", 6000, 7000),
    ]


def test_an_emotion_without_words_is_shown_alone() -> None:
    """So it is where nobody listens to the words, or nothing was understood."""
    script = Script(asr=None)
    script.say(1000, 2000, None, "sad")
    script.say(3000, 4000, "", "unsure")
    timeline = timeline_of(gathered(script.close()))
    assert [cue.text for cue in parse_vtt(to_vtt(timeline))] == ["[sad]", "[unsure]"]
    assert [cue.text for cue in parse_srt(to_srt(timeline))] == ["[sad]", "[unsure]"]


def test_a_failed_utterance_shows_nothing() -> None:
    """There is nothing to read; one of which there were words shows these, without emotion."""
    script = Script()
    script.fail(1000, 2000)
    item = script.begin(3000)
    script.read(item, 3000, 3500, "half a")
    timeline = timeline_of(gathered(script.events))
    assert [cue.text for cue in parse_srt(to_srt(timeline))] == ["[happy] half a"]
    script.stop(item, 4000)
    assert parse_vtt(to_vtt(timeline_of(gathered(Script().close())))) == []


def test_a_long_utterance_is_cut_at_its_words() -> None:
    """No part is too long to be read; together they are all that was said, without gaps."""
    words = [(f"word{index:02}", 500 * index, 500 * index + 400) for index in range(40)]
    script = Script()
    script.say(0, 20_000, " ".join(word for word, _, _ in words), words=words)
    cues = list(cues_of(timeline_of(gathered(script.close()))))
    assert len(cues) >= 3
    assert " ".join(cue.text for cue in cues).split() == [word for word, _, _ in words]
    assert all(len(cue.text) <= 84 and cue.end_ms - cue.start_ms <= 7500 for cue in cues)
    assert [cue.end_ms for cue in cues[:-1]] == [cue.start_ms for cue in cues[1:]]
    assert (cues[0].start_ms, cues[-1].end_ms) == (0, 20_000)


def _timed(words: list[str], every_ms: int = 400) -> list[tuple[str, int, int]]:
    return [(word, every_ms * i, every_ms * i + 300) for i, word in enumerate(words)]


_LONG_WORDS = [
    (
        "The twenty-five-year-old brother-in-law of our editor-in-chief paid 3.5 million dollars"
        " for a two-bedroom house near the well-known corner of the city, he doesn't say why.",
        r"\w+|[-'.,]\w+|[.,]",
        " ",
    ),
    (
        "Merci d'avoir appelé la banque, comment puis-je vous aider aujourd'hui, et peut-être"
        " aussi demain matin, quand votre beau-frère viendra chez nous avec le grand-père ?",
        r"\w+'|-?\w+|[.,?]",
        " ",
    ),
    (
        "今天天气很好，我们一起去公园散步，然后去超市买一些水果和蔬菜，晚上回家做饭，吃完饭以后看电视，"
        "明天早上还要早起去上班，所以今天晚上要早点睡觉。",
        "..?",
        "",
    ),
    (
        "昨日は友だちとコーヒーを飲みながら、新しい仕事についてゆっくり話しました。それからスーパーで"
        "野菜とケーキを買って、家に帰ってパーティーの準備をしました。",
        ".",
        "",
    ),
    (
        "วันนี้อากาศดีมากเราไปเดินเล่นที่สวนสาธารณะกันแล้วไปซื้อผลไม้ที่ตลาดตอนเย็นกลับบ้านไปทำอาหารกินข้าวแล้วดูโทรทัศน์พรุ่งนี้ต้องตื่นเช้าไปทำงาน",
        ".[\u0e31\u0e34-\u0e3a\u0e47-\u0e4e]*",
        "",
    ),
]


@pytest.mark.parametrize(("text", "pattern", "between"), _LONG_WORDS)
def test_what_recognisers_time_need_not_be_words(text: str, pattern: str, between: str) -> None:
    """Hyphens, elisions, decimals and marks come apart; a line is cut at blanks, if there are any.

    Where there are none it is cut between what was timed, and wide characters count double.
    """
    pieces = re.findall(pattern, text)
    assert "".join(pieces) == text.replace(" ", "")
    script = Script()
    script.say(0, 400 * len(pieces), text, words=_timed(pieces))
    cues = list(cues_of(timeline_of(gathered(script.close()))))
    assert between.join(cue.text for cue in cues) == text
    assert len(cues) >= 2
    assert all(cue.end_ms - cue.start_ms <= 7500 and width(cue.text) <= 84 for cue in cues)
    assert [cue.end_ms for cue in cues[:-1]] == [cue.start_ms for cue in cues[1:]]
    for cue in cues:
        assert cue.text[0] not in "ー、。，っゃゅょ"
        assert cue.text[-1] not in "เแโใไ"


def test_wide_characters_fill_a_subtitle_sooner() -> None:
    """Forty-two of them are as wide as eighty-four Latin letters."""
    text = "今天天气很好" * 10
    script = Script()
    script.say(0, 6000, text, words=_timed(list(text), 100))
    cues = list(cues_of(timeline_of(gathered(script.close()))))
    assert [len(cue.text) for cue in cues] == [42, 18]
    assert (cues[0].end_ms, cues[1].start_ms) == (4200, 4200)


def test_what_was_timed_may_hold_blanks() -> None:
    """Nothing of it is lost, and it is not cut."""
    words = ["New York", "has", "a", "lot", "of", "snow,"] * 6
    script = Script()
    script.say(0, 6000, " ".join(words), words=_timed(words, 160))
    cues = list(cues_of(timeline_of(gathered(script.close()))))
    assert " ".join(cue.text for cue in cues) == " ".join(words)
    assert len(cues) == 2
    assert not any(cue.text.endswith("New") for cue in cues)


def test_words_that_are_not_those_of_the_transcript_cut_nothing() -> None:
    """Times of other words would put the text in the wrong places."""
    script = Script()
    script.say(0, 20_000, "x" * 200, words=[("y", 0, 100), ("z", 200, 300)])
    assert len(list(cues_of(timeline_of(gathered(script.close()))))) == 1


def test_a_cue_lasts_though_the_utterance_did_not() -> None:
    """Players refuse what ends where it begins."""
    script = Script()
    script.say(1000, 1000, "x")
    (cue,) = parse_srt(to_srt(timeline_of(gathered(script.close()))))
    assert cue.end > cue.start


@given(odd_texts(), odd_texts())
def test_any_text_comes_back(text: str, name: str) -> None:
    """Arrows, tags, entities, line breaks, foreign scripts: on one line, else as they were."""
    script = Script(speaker=name)
    script.say(1000, 2000, text)
    script.say(3000, 4000, "the next")
    timeline = timeline_of(gathered(script.close()))
    first, second = parse_vtt(to_vtt(timeline))
    assert _unmarked(first.text) == f"[happy] {flat(text)}".strip()
    assert (first.voice or "") == flat(name)
    assert second.text == "[happy] the next"
    spoken = [part for part in ("[happy]", f"{flat(name)}:" if flat(name) else "") if part]
    shown = parse_srt(to_srt(timeline))[0].text
    assert _unmarked(shown) == " ".join([*spoken, flat(text)]).strip()


def _unmarked(line: str) -> str:
    return line[1:] if line[0] in "\u200e\u200f" else line


@pytest.mark.parametrize("words", ["שלום, מה שלומך היום?", "مرحبا، كيف حالك؟"])
def test_a_line_has_the_direction_of_its_words(words: str) -> None:
    """Else the label makes it one from left to right, with the question mark at the wrong end."""
    script = Script(speaker="Dana")
    script.say(1000, 2000, words)
    timeline = timeline_of(gathered(script.close()))
    assert f"\n\u200f[happy] Dana: {words}\n" in to_srt(timeline)
    assert f"<v Dana><c.happy>\u200f[happy] {words}</c></v>" in to_vtt(timeline)


def test_a_name_does_not_turn_the_words_around() -> None:
    """English words of somebody with a Hebrew name run from left to right."""
    script = Script(speaker="דנה", asr="whisper")
    script.say(1000, 2000, "Hello, all.", "א", scores={"א": 0.9, "b": 0.1})
    text = to_srt(timeline_of(gathered(script.close())))
    assert "\n\u200e[א] דנה: Hello, all.\n" in text
    assert "\u200e" not in to_srt(timeline_of(gathered(_english("Ann"))))
    assert "\u202e" not in to_srt(timeline_of(gathered(_english("A\u202enn"))))


def _english(name: str) -> list[Event]:
    script = Script(speaker=name)
    script.say(1000, 2000, "Hello, all.")
    return script.close()


def test_a_category_of_another_model_makes_a_class() -> None:
    """Names of classes have neither blanks nor points."""
    script = Script()
    script.say(1000, 2000, "x", "very.happy <3", scores={"very.happy <3": 0.4, "b": 0.1})
    (cue,) = parse_vtt(to_vtt(timeline_of(gathered(script.close()))))
    assert cue.classes == ("very-happy-3",)
    assert cue.text == "[very.happy <3] x"


def test_a_reader_of_others_reads_them(demo: Recording) -> None:
    """The packages `srt` and `webvtt-py`, where they are installed."""
    srt = pytest.importorskip("srt")
    webvtt = pytest.importorskip("webvtt")
    timeline = timeline_of(demo)
    ours = parse_srt(to_srt(timeline))
    theirs = list(srt.parse(to_srt(timeline)))
    assert [each.content for each in theirs] == [each.text for each in ours]
    assert [each.start.total_seconds() * 1000 for each in theirs] == [each.start for each in ours]
    captions = webvtt.from_string(to_vtt(timeline))
    assert [caption.text for caption in captions] == [each.text for each in ours]
