"""TextGrids and EAF: tiers in which nothing is lost."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given

from streamser.export.records import Recording, replace_audio
from streamser.export.tiers import tiers_of, to_eaf, to_textgrid
from streamser.export.timeline import timeline_of
from streamser.text import flat
from tests.export.parsers import GridTier, parse_textgrid
from tests.export.script import Script, gathered, odd_texts


def grid(recording: Recording, *, one_clock: bool = False) -> dict[str, GridTier]:
    """Write and read a grid; its tiers by name."""
    tiers = parse_textgrid(to_textgrid(timeline_of(recording, one_clock=one_clock)))
    assert len({tier.name for tier in tiers}) == len(tiers)
    return {tier.name: tier for tier in tiers}


def said(tier: GridTier) -> list[tuple[float, float, str]]:
    """Return the intervals that are not empty."""
    return [interval for interval in tier.intervals if interval[2]]


def test_a_real_session_has_its_utterances_as_intervals(demo: Recording) -> None:
    """Categories, words and transcript stand where they were heard."""
    tiers = grid(demo)
    utterances = demo.utterances
    assert said(tiers["category"]) == [
        (each.start_ms / 1000, each.end_ms / 1000, each.emotion.category)
        for each in utterances
        if each.emotion is not None
    ]
    assert tiers["category"].intervals[-1][1] == 7.0
    if demo.sessions[0].transcribed:
        assert [label for _, _, label in said(tiers["transcript"])] == [
            each.transcript for each in utterances if each.transcript
        ]
        # Words that no time lies between share an interval.
        timed = [word.word for each in utterances for word in each.words]
        assert timed
        assert " ".join(label for _, _, label in said(tiers["words"])) == " ".join(timed)


def test_speakers_who_overlap_have_tiers_of_their_own() -> None:
    """And one tier says who speaks, both of them where they do at once."""
    anna, ben = Script("a", speaker="Anna"), Script("b", speaker="Ben")
    anna.say(1000, 5000, "a long one")
    ben.say(2000, 3000, "no", "angry")
    ben.say(4000, 6000, "never", "angry")
    tiers = grid(gathered(anna.close(), ben.close()), one_clock=True)
    assert list(tiers) == [
        "speakers",
        "Anna transcript",
        "Anna category",
        "Ben transcript",
        "Ben category",
    ]
    assert said(tiers["speakers"]) == [
        (1, 2, "Anna"),
        (2, 3, "Anna + Ben"),
        (3, 4, "Anna"),
        (4, 5, "Anna + Ben"),
        (5, 6, "Ben"),
    ]
    assert said(tiers["Anna transcript"]) == [(1, 5, "a long one")]
    assert said(tiers["Ben category"]) == [(2, 3, "angry"), (4, 6, "angry")]


def test_one_speaker_in_two_sessions_loses_no_words() -> None:
    """Where there is no room, words are told with those before."""
    one, two = Script("a", speaker="Anna"), Script("b", speaker="Anna")
    one.say(1000, 5000, "first")
    two.say(2000, 3000, "second")
    two.say(4000, 6000, "third")
    tiers = grid(gathered(one.close(), two.close()), one_clock=True)
    assert said(tiers["transcript"]) == [(1, 5, "first second"), (5, 6, "third")]


def test_failed_utterances_and_silence_are_empty() -> None:
    """Somebody spoke, that is all that is known; of a session of nobody there is the length."""
    script = Script(speaker="Anna")
    script.fail(1000, 2000)
    tiers = grid(gathered(script.close(4000)))
    assert said(tiers["speakers"]) == [(1, 2, "Anna")]
    assert said(tiers["transcript"]) == said(tiers["category"]) == []
    assert grid(gathered(Script().close(3000)))["category"].intervals == [(0, 3, "")]
    assert grid(gathered(Script().close(0)))["category"].intervals[0][2] == ""


def test_words_outside_of_their_utterance_are_cut() -> None:
    """Recognisers place words a little off."""
    script = Script()
    script.say(1000, 2000, "a b", words=[("a", 900, 1500), ("b", 1400, 2100)])
    assert said(grid(gathered(script.close()))["words"]) == [(1, 1.5, "a"), (1.5, 2, "b")]


@given(odd_texts(), odd_texts())
def test_any_text_comes_back(text: str, name: str) -> None:
    """Quotes, line breaks, foreign scripts: on one line, else as they were."""
    script = Script(speaker=name)
    script.say(1000, 2000, text)
    tiers = grid(gathered(script.close()))
    assert [label for _, _, label in said(tiers["transcript"])] == (
        [flat(text)] if flat(text) else []
    )
    assert said(tiers["speakers"]) == [(1, 2, flat(name) or "speaker")]


def test_praat_reads_it(demo: Recording, tmp_path: Path) -> None:
    """Praat itself, where `praat-parselmouth` is installed."""
    parselmouth = pytest.importorskip("parselmouth")
    script = Script(speaker='Anna "the 😀" שלום')
    script.say(1000, 2000, 'he said "no" <b>')
    for number, recording in enumerate((demo, gathered(script.close()))):
        text = to_textgrid(timeline_of(recording))
        path = tmp_path / f"{number}.TextGrid"
        path.write_text(text, encoding="utf-8")
        praat = parselmouth.Data.read(str(path))
        ours = parse_textgrid(text)
        assert parselmouth.praat.call(praat, "Get number of tiers") == len(ours)
        for index, tier in enumerate(ours, 1):
            count = parselmouth.praat.call(praat, "Get number of intervals", index)
            assert count == len(tier.intervals)
            labels = [
                parselmouth.praat.call(praat, "Get label of interval", index, place)
                for place in range(1, count + 1)
            ]
            assert labels == [label for _, _, label in tier.intervals]


def test_elan_gets_the_same_tiers_without_the_gaps(demo: Recording) -> None:
    """Each annotation between two moments of its own, which stand in order of time."""
    timeline = timeline_of(demo)
    document = ET.fromstring(to_eaf(timeline))
    order = [
        (slot.attrib["TIME_SLOT_ID"], int(slot.attrib["TIME_VALUE"]))
        for slot in document.iter("TIME_SLOT")
    ]
    assert [at for _, at in order] == sorted(at for _, at in order)
    moments = dict(order)
    assert len(moments) == len(order)
    told = {
        tier.attrib["TIER_ID"]: [
            (
                moments[each.attrib["TIME_SLOT_REF1"]],
                moments[each.attrib["TIME_SLOT_REF2"]],
                each.findtext("ANNOTATION_VALUE"),
            )
            for each in tier.iter("ALIGNABLE_ANNOTATION")
        ]
        for tier in document.iter("TIER")
    }
    assert told == {
        tier.name: [tuple(each) for each in tier.intervals if each.text]
        for tier in tiers_of(timeline)
    }


def test_elan_finds_the_sound_that_the_session_names(tmp_path: Path) -> None:
    """By its whole address, where its folder is known; odd names too."""
    sound = tmp_path / "my talk.wav"
    recording = replace_audio(gathered(Script().close()), sound)
    document = ET.fromstring(to_eaf(timeline_of(recording)))
    (media,) = document.iter("MEDIA_DESCRIPTOR")
    assert media.attrib["MEDIA_URL"] == sound.as_uri()
    assert media.attrib["MIME_TYPE"].startswith("audio/")


def test_elan_finds_a_sound_that_is_named_from_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the document is written; of one that is not there only the name is known."""
    monkeypatch.chdir(tmp_path)
    sound = Path("sub") / "talk.wav"
    recording = replace_audio(gathered(Script().close()), sound)

    def url() -> str:
        (media,) = ET.fromstring(to_eaf(timeline_of(recording))).iter("MEDIA_DESCRIPTOR")
        return media.attrib["MEDIA_URL"]

    assert url() == "./talk.wav"
    sound.parent.mkdir()
    sound.touch()
    assert url() == (tmp_path / sound).as_uri()


@given(odd_texts(), odd_texts())
def test_elan_can_read_any_text(name: str, text: str) -> None:
    """Whatever somebody says, or is called."""
    script = Script(speaker=name)
    script.say(1000, 2000, text)
    document = ET.fromstring(to_eaf(timeline_of(gathered(script.close()))))
    tiers = {tier.attrib["TIER_ID"]: tier for tier in document.iter("TIER")}
    told = [each.text for each in tiers["transcript"].iter("ANNOTATION_VALUE")]
    assert told == ([flat(text)] if flat(text) else [])
