"""Exports of utterances in which several speak: a row, a cue or an interval for each of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from streamser.events import (
    EmotionCompleted,
    PartEmotion,
    SpeakerChange,
    SpeakerPart,
    SpeakersChanged,
)
from streamser.export.emotionml import to_emotionml
from streamser.export.read import read_recording
from streamser.export.records import Recording
from streamser.export.subtitles import to_srt, to_vtt
from streamser.export.tables import to_audformat, to_csv
from streamser.export.tiers import to_eaf, to_rttm, to_textgrid
from streamser.export.timeline import timeline_of
from streamser.export.utterances import Utterances, read_utterance
from streamser.report.figures import figures_of
from streamser.taxonomy import Dimensions
from tests.export.script import Script, gathered, saved

WORDS = ("you", "never", "listen.", "I", "do.")


def reading(category: str) -> PartEmotion:
    """Return what was read of a part."""
    emotion = Script().emotion(0, 1000, category)
    return PartEmotion(**{name: getattr(emotion, name) for name in PartEmotion.__struct_fields__})


def parts_of(
    *labels: str | None, categories: Sequence[str | None] = ("angry", "sad")
) -> tuple[SpeakerPart, ...]:
    """Return two parts, 1 to 4 s and 4 to 6 s."""
    return tuple(
        SpeakerPart(
            start_ms=start,
            end_ms=end,
            speaker=label,
            emotion=None if category is None else reading(category),
        )
        for (start, end), label, category in zip(
            ((1000, 4000), (4000, 6000)), labels, categories, strict=True
        )
    )


def talk(parts: tuple[SpeakerPart, ...], *, timed: bool = True) -> tuple[Script, str]:
    """Return a session with an utterance of several, whose words have times, or not."""
    script = Script("s")
    words = [(word, 1000 + 1000 * n, 1900 + 1000 * n) for n, word in enumerate(WORDS)]
    item = script.say(
        1000, 6000, " ".join(WORDS), speaker="speaker 1", words=words if timed else ()
    )
    for place, event in enumerate(script.events):
        if isinstance(event, EmotionCompleted):
            script.events[place] = msgspec.structs.replace(event, parts=parts)
    return script, item


def rows(recording: Recording) -> list[tuple[str, ...]]:
    """Return start, end, speaker, category and words of each row of a table."""
    columns = ("start", "end", "speaker", "category", "transcript")
    read = csv.DictReader(io.StringIO(to_csv(recording)))
    return [tuple(row[name] for name in columns) for row in read]


def test_tables_have_a_row_for_each_who_speaks() -> None:
    """With their own reading, and the words that were said in their time."""
    script, _ = talk(parts_of("speaker 1", "speaker 2"))
    recording = gathered(script.close())
    assert rows(recording) == [
        ("1", "4", "speaker 1", "angry", "you never listen."),
        ("4", "6", "speaker 2", "sad", "I do."),
    ]
    assert to_audformat(recording)["db.categories.csv"].count("\n") == 3


def test_subtitles_have_a_cue_for_each_who_speaks() -> None:
    """In SubRip and on the web."""
    script, _ = talk(parts_of("speaker 1", "speaker 2"))
    timeline = timeline_of(gathered(script.close()))
    lines = to_srt(timeline).splitlines()
    assert lines[1:3] == ["00:00:01,000 --> 00:00:04,000", "[angry] speaker 1: you never listen."]
    assert lines[5:7] == ["00:00:04,000 --> 00:00:06,000", "[sad] speaker 2: I do."]
    assert "<v speaker 2><c.sad>[sad] I do.</c></v>" in to_vtt(timeline)


def test_tiers_and_emotionml_are_cut_where_the_speaker_changes() -> None:
    """Each has tiers of their own, and an emotion of their own."""
    script, _ = talk(parts_of("speaker 1", "speaker 2"))
    timeline = timeline_of(gathered(script.close()))
    grid = to_textgrid(timeline)
    for tier, text in (("speaker 1 category", "angry"), ("speaker 2 category", "sad")):
        assert f'name = "{tier}"' in grid
        assert f'text = "{text}"' in grid
    assert "<ANNOTATION_VALUE>I do.</ANNOTATION_VALUE>" in to_eaf(timeline)
    language = to_emotionml(timeline)
    assert language.count("<emotion ") == 2
    assert 'speaker="speaker 2"' in language


def test_rttm_has_a_line_for_each_turn() -> None:
    """With blanks in names written as underscores, and no words at all."""
    script, _ = talk(parts_of("speaker 1", None))
    assert to_rttm(timeline_of(gathered(script.close()))).splitlines() == [
        "SPEAKER s 1 1.000 3.000 <NA> <NA> speaker_1 <NA> <NA>",
        "SPEAKER s 1 4.000 2.000 <NA> <NA> uncertain_speaker <NA> <NA>",
    ]


def test_a_report_counts_each_for_themselves() -> None:
    """Speaking time, words and emotions are whose they are."""
    script, _ = talk(parts_of("speaker 1", "speaker 2"))
    first, second = figures_of(gathered(script.close())).talkers
    assert (first.name, first.speech_ms, first.words) == ("speaker 1", 3_000, 3)
    assert (second.name, second.speech_ms, second.words) == ("speaker 2", 2_000, 2)
    assert [share.category for share in second.categories] == ["sad"]


def test_words_without_times_stand_with_whoever_speaks_most() -> None:
    """Nobody knows where they were said."""
    script, _ = talk(parts_of("speaker 1", "speaker 2"), timed=False)
    found = rows(gathered(script.close()))
    assert [row[-1] for row in found] == ["you never listen. I do.", ""]


def test_a_part_that_was_not_read_has_no_emotion_and_no_problem() -> None:
    """The whole's is no one's in particular; where no part was read it is its speaker's."""
    script, _ = talk(parts_of("speaker 1", "speaker 2", categories=("angry", None)))
    recording = gathered(script.close())
    assert [row[3] for row in rows(recording)] == ["angry", ""]
    assert [each.problem for each in timeline_of(recording).utterances] == [None, None]
    script, _ = talk(parts_of("speaker 1", "speaker 2", categories=(None, None)))
    assert [row[3] for row in rows(gathered(script.close()))] == ["happy", ""]


def test_readings_stay_where_they_were_read_when_speakers_change() -> None:
    """A correction says whose a part is, and never reads it again."""
    script, item = talk(parts_of("speaker 1", "speaker 2"))
    now = parts_of("speaker 3", None, categories=(None, None))
    change = SpeakerChange(item_id=item, speaker="speaker 3", parts=now)
    script.tell(SpeakersChanged, changes=(change,))
    script.tell(SpeakersChanged, renamed={"speaker 3": "Ann"})
    events = script.close()
    assert [row[2:4] for row in rows(gathered(events))] == [
        ("Ann", "angry"),
        ("", "sad"),
    ]
    said = Utterances()
    for event in events:
        said.follow(event)
        spoken = read_utterance(event, transcribed=True)
        if spoken is not None:
            said.append(spoken)
    ((first, second),) = (each.parts for each in said)
    assert first.speaker == "Ann"
    assert (first.emotion and first.emotion.category, second.speaker) == ("angry", None)


def test_an_utterance_that_is_one_persons_after_all_is_one_row() -> None:
    """With the reading of the whole."""
    script, item = talk(parts_of("speaker 1", "speaker 2"))
    change = SpeakerChange(item_id=item, speaker="speaker 2")
    script.tell(SpeakersChanged, changes=(change,))
    (row,) = rows(gathered(script.close()))
    assert row[2:4] == ("speaker 2", "happy")


def test_readings_of_parts_that_cannot_be_are_passed_over(tmp_path: Path) -> None:
    """As those of whole utterances: events may come from anybody."""
    first, second = parts_of("speaker 1", "speaker 2")
    assert second.emotion is not None
    cases: list[tuple[dict[str, Any], str]] = [
        ({"scores": {"happy": 7.0}}, "a share that is not between 0 and 1"),
        ({"dimensions": Dimensions(valence=9.0)}, "a dimension that is not between -1 and 1"),
    ]
    for spoilt, why in cases:
        emotion = msgspec.structs.replace(second.emotion, **spoilt)
        script, _ = talk((first, msgspec.structs.replace(second, emotion=emotion)))
        recording = read_recording(saved(tmp_path / "s.jsonl", script.close()))
        assert recording.utterances[0].parts == ()
        assert why in recording.notes[0]
