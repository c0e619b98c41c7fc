"""What is answered, word by word."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from streamser.events import EmotionBody, ErrorBody, ModelNames, Window, WordTiming
from streamser.export.records import Timeline, UtteranceRecord
from streamser.server.rest.answers import (
    summarise,
    word_delta,
    word_done,
    word_segment,
    word_transcription,
)
from streamser.server.rest.form import AnswerFormat, TranscriptionOrder
from streamser.server.rest.transcription import Heard
from streamser.taxonomy import Dimensions

MODELS = ModelNames(vad="v", asr="w", emotion="e")


def emotion(valence: float | None = None, **scores: float) -> EmotionBody:
    """Make a reading."""
    likeliest = max(scores, key=scores.__getitem__)
    return EmotionBody(
        category=likeliest,
        confidence=scores[likeliest],
        scores=scores,
        dimensions=Dimensions(valence),
        uncertainty=0.5,
        modalities=("audio",),
        speaker=None,
        window=Window(start_ms=0, end_ms=1),
        model="e",
    )


def said(text: str | None, start: int, end: int, **more: Any) -> UtteranceRecord:
    """Make an utterance."""
    return UtteranceRecord(
        session_id="s", item_id=f"i{start}", start_ms=start, end_ms=end, transcript=text, **more
    )


HAPPY = emotion(0.5, happy=0.9, sad=0.1)
SAD = emotion(None, happy=0.2, sad=0.8)
WORDS = (WordTiming(word="Good", start_ms=100, end_ms=300),)
SPOKEN = (
    said("Good day.", 100, 3100, emotion=HAPPY, language="en", confidence=0.5, words=WORDS),
    said("", 3200, 4200, emotion=SAD, language="fr", distrusted="noise"),
    said("Alas!", 5000, 6000, emotion=SAD, language="en", speaker="speaker 2"),
)


def answered(form: AnswerFormat, *, words: bool = False) -> Any:
    """Word these utterances."""
    order = TranscriptionOrder(model="streamser", form=form, words=words)
    timeline = Timeline(utterances=SPOKEN, length_ms=7000, categories=(), sessions=())
    _, body = word_transcription(Heard(timeline, 7.0), order, MODELS)
    return msgspec.json.decode(body) if "json" in form else body.decode()


def test_texts_are_joined_and_segments_keep_theirs() -> None:
    """What is not known is null; what another decoder would tell is 0 or empty."""
    told = answered("verbose_json", words=True)
    assert told["text"] == "Good day. Alas!"
    assert (told["language"], told["duration"], told["task"]) == ("en", 7.0, "transcribe")
    assert told["words"] == [{"word": "Good", "start": 0.1, "end": 0.3}]
    first, second, third = told["segments"]
    assert (first["start"], first["end"], first["text"]) == (0.1, 3.1, "Good day.")
    assert first["avg_logprob"] == math.log(0.5)
    assert first["emotion"]["dimensions"]["valence"] == 0.5
    assert second["distrusted"] == "noise"
    assert second["avg_logprob"] is None
    assert third["speaker"] == "speaker 2"
    assert "speaker" not in first
    assert answered("text") == "Good day. Alas!\n"
    assert "[happy] Good day." in answered("srt")
    assert "words" not in answered("verbose_json")


def test_a_file_is_called_what_most_of_its_time_is() -> None:
    """Each reading counts by its length; what was not measured counts nowhere."""
    told = summarise(SPOKEN)
    assert told is not None
    assert told["category"] == "happy"
    assert told["scores"] == {"happy": 0.62, "sad": 0.38}
    assert told["dimensions"] == {"valence": 0.5, "arousal": None, "dominance": None}
    told = summarise((said("", 0, 1000, emotion=HAPPY), said("", 1000, 2200, emotion=SAD)))
    assert told is not None
    assert told["category"] == "unsure"
    assert summarise(()) is None
    failed = said(None, 0, 1000, fault=ErrorBody(type="server_error", code="c", message="m"))
    assert summarise((failed,)) is None
    assert word_segment(failed, 3)["error"]["code"] == "c"


def test_deltas_together_are_the_text_of_the_end() -> None:
    """An utterance without words says nothing, and has its segment all the same."""
    events = [msgspec.json.decode(word_delta(each, n)[6:]) for n, each in enumerate(SPOKEN)]
    timeline = Timeline(utterances=SPOKEN, length_ms=7000, categories=(), sessions=())
    done = msgspec.json.decode(word_done(Heard(timeline, 7.0))[6:])
    assert "".join(each["delta"] for each in events) == done["text"]
    assert [each["segment"]["id"] for each in events] == [0, 1, 2]
