"""The live view as a pure function of events and sound."""

from __future__ import annotations

import io
import re

import msgspec
import numpy as np
import pytest
from rich.console import Console, RenderableType

from streamser.cli.live.live_view import LiveScreen, render, render_utterance
from streamser.cli.live.sinks import PlainLines
from streamser.cli.live.view_state import Level, ViewState, hear, update
from streamser.events import (
    Committed,
    EmotionCompleted,
    EmotionDelta,
    Event,
    MoodUpdated,
    Overload,
    PartEmotion,
    SpeakerChange,
    SpeakerPart,
    SpeakersChanged,
    SpeechStarted,
    SpeechStopped,
    TranscriptPartial,
)
from streamser.export.utterances import Utterance, read_utterance
from tests.cli.samples import ENVELOPE, closed, created, emotion, failed, felt, said, sounded

LONG = "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichenfabrikantenverein" * 2


def started() -> Event:
    """Make the event of somebody beginning to speak."""
    return SpeechStarted(**ENVELOPE, item_id="item_s_1", audio_start_ms=1000)


def partial(committed: str, revisable: str) -> Event:
    """Make the event of what has been understood so far."""
    return TranscriptPartial(
        **ENVELOPE,
        item_id="item_s_1",
        text=committed + revisable,
        committed=committed,
        revisable=revisable,
        audio_start_ms=1000,
        audio_end_ms=2000,
    )


def stopped() -> list[Event]:
    """Make the events of somebody having spoken."""
    return [
        SpeechStopped(**ENVELOPE, item_id="item_s_1", audio_end_ms=3000, reason="pause"),
        Committed(**ENVELOPE, item_id="item_s_1", previous_item_id=None),
    ]


def after(*events: Event) -> ViewState:
    """Return the state of a view after some events."""
    state = ViewState(source="pulse")
    for event in events:
        state = update(state, event)
    return state


def rows(drawing: RenderableType, width: int) -> list[str]:
    """Draw for a width and return the rows without colour."""
    console = Console(file=io.StringIO(), width=width, legacy_windows=False)
    lines = console.render_lines(drawing, console.options.update(width=width), pad=False)
    return ["".join(segment.text for segment in line).rstrip() for line in lines]


def spoken(event: Event, *, transcribed: bool = True) -> Utterance:
    """Return the utterance that an event finishes."""
    utterance = read_utterance(event, transcribed=transcribed)
    assert utterance is not None
    return utterance


def test_speech_is_silent_then_speaking_then_thinking_then_silent() -> None:
    """The state follows the utterance from its first sound to its answer."""
    life = [created(), started(), *stopped(), said("good morning")]
    states = [after(*life[: n + 1]).speech for n in range(len(life))]
    assert states == ["silent", "speaking", "silent", "thinking", "silent"]


def test_a_new_utterance_keeps_its_words_while_the_last_one_is_answered() -> None:
    """An answer that comes late does not wipe what is being said by then."""
    state = after(
        created(), started(), *stopped(), started(), partial("and", " then"), said("before")
    )
    assert state.speech == "speaking"
    assert (state.committed, state.revisable) == ("and", " then")


def test_the_partial_disappears_with_its_answer() -> None:
    """What was provisional gives way to the finished line."""
    state = after(created(), started(), partial("good", " mourning"), *stopped(), said("good"))
    assert (state.committed, state.revisable, state.delta) == ("", "", None)
    assert state.finished is not None
    assert update(state, closed()).finished is None


def test_what_the_voice_says_alone_stands_there_until_the_final() -> None:
    """Marked as what it is, beside the words known so far; then the final takes its place."""
    waits = after(created(), started(), partial("good", " mourning"), *stopped(), sounded())
    drawn = rows(render(waits, Level(), 140), 140)
    assert waits.finished is None
    for part in ["0:01.0", "voice alone", "happy", "72%", "V ···│█▌·", "words follow"]:
        assert part in drawn[2]
    assert drawn[3] == "good mourning"
    over = update(waits, said("good morning"))
    assert (over.alone, over.speech) == ((), "silent")
    assert over.finished is not None
    assert over.finished.transcript == "good morning"


def test_a_reading_of_the_voice_alone_stays_while_the_next_one_speaks() -> None:
    """What is being said by then has a row of its own, and the reading of it too."""
    delta = EmotionDelta(**ENVELOPE, item_id="item_s_1", emotion=emotion("sad"))
    state = after(created(), started(), *stopped(), sounded(), started(), delta)
    drawn = rows(render(update(state, partial("and ", LONG)), Level(), 120), 120)
    assert "happy" in drawn[2]
    assert drawn[3].endswith(LONG[-20:])
    assert drawn[4].startswith("now sad")


def test_a_failure_takes_the_reading_of_the_voice_away() -> None:
    """Whatever came of the words: nothing is awaited any more."""
    fault = msgspec.structs.replace(failed(), item_id="item_s_1")
    assert after(created(), started(), *stopped(), sounded(), fault).alone == ()
    assert after(created(), started(), *stopped(), sounded(), closed()).alone == ()


@pytest.mark.parametrize("width", [40, 59, 60, 79, 80, 110, 140])
def test_a_reading_of_the_voice_alone_is_cut_off_nowhere(width: int) -> None:
    """One row says what it is and what it reads."""
    talk = [created(), started(), partial("one two " * 60, LONG), *stopped()]
    bare = rows(render(after(*talk), Level(), width), width)
    drawn = rows(render(after(*talk, sounded(emotion("unsure"))), Level(), width), width)
    assert len(drawn) == len(bare)
    assert max(map(len, drawn)) <= width
    for part in ["voice alone", "unsure", "76%", "neutral?"]:
        assert part in drawn[2]
    assert drawn[3].endswith(LONG[-10:])


def test_words_of_a_script_without_spaces_are_drawn_as_they_are() -> None:
    """What is settled and what is not join without anything between them."""
    drawn = rows(render(after(created(), partial("今日は", "いい天気")), Level(), 80), 80)
    assert drawn[2] == "今日はいい天気"


def test_an_utterance_without_words_is_finished_by_its_emotion() -> None:
    """Without a recogniser the other final is the one to show."""
    assert after(created(asr=None), started(), *stopped(), felt()).finished is not None
    assert after(created(), started(), *stopped(), felt()).finished is None


@pytest.mark.parametrize(
    ("width", "height"), [(40, 9), (59, 9), (60, 8), (78, 8), (79, 6), (110, 6), (140, 6), (200, 6)]
)
def test_the_live_part_has_always_as_many_rows_that_fit(width: int, height: int) -> None:
    """Nothing jumps while people talk, however much they say."""
    delta = EmotionDelta(**ENVELOPE, item_id="item_s_1", emotion=emotion())
    mood = MoodUpdated(
        **ENVELOPE,
        category="happy",
        scores={"happy": 0.6},
        dimensions=emotion().dimensions,
        shift=False,
        previous=None,
        audio_end_ms=3000,
    )
    loss = Overload(**ENVELOPE, kind="partials", dropped=1, total=12, since_ms=0, reason="full")
    talk = [created(), started(), partial("one two " * 60, LONG), delta, mood, sounded(), loss]
    for n in range(len(talk) + 1):
        drawn = rows(render(after(*talk[:n]), Level(), width), width)
        assert len(drawn) == height
        assert max(map(len, drawn)) <= width


def test_the_end_of_a_long_partial_stays_in_sight() -> None:
    """The newest words are the ones people wait for."""
    drawn = rows(render(after(created(), partial("word " * 100, "newest")), Level(), 80), 80)
    assert drawn[2].startswith("…")
    assert drawn[3].endswith("newest")


def test_revisable_words_are_dim() -> None:
    """Settled words and words that may still change look different."""
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="standard")
    with console.capture() as captured:
        console.print(render(after(created(), partial("settled", " maybe")), Level(), 80))
    assert "\nsettled\x1b[2;3m maybe" in captured.get()


def test_the_footer_names_mood_losses_device_and_models() -> None:
    """Who wonders what is at work finds it in the last row."""
    footer = rows(render(after(created()), Level(), 120), 120)[-1]
    assert footer == "pulse  ·  silero · faster-whisper/tiny.en · rules"
    footer = rows(render(after(created(arithmetic="float32")), Level(), 120), 120)[-1]
    assert footer == "pulse  ·  silero · faster-whisper/tiny.en in float32 · rules"


def test_a_wide_terminal_shows_an_utterance_in_one_row() -> None:
    """Time, words, category, probability, gauges and lag stand side by side."""
    (row,) = rows(render_utterance(spoken(said("good morning")), 140), 140)
    for part in ["0:01.0", "good morning", "happy", "72%", "V ···│█▌·", "D    –", "80 ms"]:
        assert part in row


def test_a_narrow_terminal_shows_words_above_figures() -> None:
    """At 80 columns nothing is squeezed out."""
    words, figures = rows(render_utterance(spoken(said("good morning")), 80), 80)
    assert "good morning" in words
    for part in ["happy", "72%", "V ···│█▌·", "A ·▐█│···", "D    –", "80 ms"]:
        assert part in figures


@pytest.mark.parametrize("width", [40, 59, 60, 70, 78])
@pytest.mark.parametrize("lag_ms", [80.0, 12_345.0])
def test_a_tight_terminal_cuts_nothing_off(width: int, lag_ms: float) -> None:
    """Down to 40 columns numbers stand for gauges, on a row of their own if need be."""
    body = emotion("unsure", valence=-0.94, arousal=0.55)
    drawn = rows(render_utterance(spoken(said("well", body, lag_ms)), width), width)
    assert max(map(len, drawn)) <= width
    assert "…" not in "".join(drawn)
    for part in ["unsure", "76%", "neutral?", "V -0.9 A +0.6 D  –", f"{lag_ms:.0f} ms"]:
        assert sum(part in row for row in drawn) == 1, drawn


@pytest.mark.parametrize("width", [40, 59, 60, 78, 79, 80])
def test_a_tight_live_part_cuts_nothing_off(width: int) -> None:
    """Level, state, time, judgement and what is at work are all there, in whatever rows."""
    delta = EmotionDelta(**ENVELOPE, item_id="item_s_1", emotion=emotion("unsure"))
    level = Level(rms_db=-21.0, peak_db=-9.0, seconds=3725.0)
    drawn = rows(render(after(created(), started(), delta), level, width), width)
    assert max(map(len, drawn)) <= width
    whole = " ".join(" ".join(drawn[1:2] + drawn[4:]).split())
    for part in ["-21 dB", "● speaking", "1:02:05.0", "unsure", "76%", "neutral?", "–"]:
        assert part in whole
    assert ("V +0.5 A -0.5 D –" if width < 79 else "V ···│█▌· A ·▐█│··· D –") in whole
    assert whole.endswith("pulse · silero · faster-whisper/tiny.en · rules")


def test_a_narrowed_terminal_keeps_no_rows_of_the_wider_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows that the terminal has broken in the meantime are cleared, each of them."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("XTERM_VERSION", raising=False)
    out = io.StringIO()
    console = Console(file=out, width=120, height=30, force_terminal=True)
    screen = LiveScreen("pulse", console)
    screen.take(created())
    screen.take(said("good evening"))
    console.width = 40
    screen.take(said("good morning"))
    screen.close()
    wide = rows(render(after(created()), Level(), 120), 120)
    broken = sum(-(-max(1, len(row)) // 40) for row in wide)
    climbs = re.findall(r"(?:\r|\x1b\[2K|\x1b\[1A)+", out.getvalue())
    assert broken > 9
    assert broken - 1 in [climb.count("\x1b[1A") for climb in climbs]


def test_what_the_gauges_mean_is_said_once() -> None:
    """Above the first utterance that has any."""
    out = io.StringIO()
    screen = LiveScreen("pulse", Console(file=out, width=120, force_terminal=False))
    for event in (created(), failed(), said("good evening"), said("good morning")):
        screen.take(event)
    screen.close()
    told = out.getvalue()
    assert told.count("valence: unpleasant to pleasant") == 1
    assert told.index("not analysed") < told.index("valence:") < told.index("good evening")


@pytest.mark.parametrize("width", [40, 60, 80, 109, 110, 140])
def test_long_words_are_broken_and_lost_nowhere(width: int) -> None:
    """Every letter is there, and no row is too wide."""
    drawn = rows(render_utterance(spoken(said(LONG)), width), width)
    assert max(map(len, drawn)) <= width
    words = (re.split("happy|V [+]0[.]5", row[11:])[0].strip() for row in drawn)
    assert "".join(words) == LONG


def test_unsure_says_what_it_leans_to() -> None:
    """Flat scores are told as such, in words and not only in colour."""
    (row,) = rows(render_utterance(spoken(said("well", emotion("unsure"))), 140), 140)
    assert "unsure" in row
    assert "neutral?" in row


def test_what_has_no_words_says_why() -> None:
    """Nothing understood, nothing transcribed and nothing analysed are three different things."""
    nothing = rows(render_utterance(spoken(said("")), 80), 80)[0]
    voice = rows(render_utterance(spoken(felt(), transcribed=False), 80), 80)[0]
    broken = rows(render_utterance(spoken(failed()), 80), 80)[0]
    assert "(no words understood, 2.0 s)" in nothing
    assert "(speech, 2.0 s)" in voice
    assert "not analysed: the queue is full" in broken


def test_the_level_rises_at_once_and_falls_slowly() -> None:
    """A meter that fell as fast as it rises could not be read."""
    loud = hear(Level(), np.full(1600, 0.1, np.float32))
    assert loud.rms_db == pytest.approx(-20, abs=0.01)
    quiet = hear(loud, np.zeros(1600, np.float32))
    assert quiet.rms_db == pytest.approx(-22.6, abs=0.01)
    assert quiet.seconds == pytest.approx(0.2)


def test_the_peak_is_held_for_a_while_and_then_let_go() -> None:
    """A single click stays visible for 1.2 s."""
    click = np.zeros(1600, np.float32)
    click[5] = 0.5
    level = hear(Level(), click)
    for _ in range(11):
        level = hear(level, np.zeros(1600, np.float32))
        assert level.peak_db == pytest.approx(-6.02, abs=0.01)
    for _ in range(2):
        level = hear(level, np.zeros(1600, np.float32))
    assert level.peak_db == -60.0


def test_no_sound_leaves_the_level_as_it_is() -> None:
    """An empty stretch is no silence."""
    level = hear(Level(), np.full(160, 0.1, np.float32))
    assert hear(level, np.empty(0, np.float32)) == level


def guess(item: str, start: int, label: str | None) -> list[Event]:
    """Make the finals of an utterance whose speaker was guessed by the voice."""
    body = msgspec.structs.replace(
        emotion(start=start, end=start + 1000), speaker=label, speaker_provisional=True
    )
    finals: list[Event] = [said("well", body), felt(body)]
    return [msgspec.structs.replace(event, item_id=item) for event in finals]


def revised(renamed: dict[str, str], **moved: str | None) -> Event:
    """Make the event of who spoke after all."""
    changes = tuple(SpeakerChange(item_id=item, speaker=who) for item, who in moved.items())
    return SpeakersChanged(**ENVELOPE, changes=changes, renamed=renamed)


def test_who_spoke_after_all_is_told_below_what_was_shown() -> None:
    """On a terminal as in a pipe; what was not shown, or is as it was shown, is not told."""
    told = [
        created(),
        *guess("a", 1000, "speaker 1"),
        *guess("b", 4000, "speaker 1"),
        *guess("c", 7000, "speaker 2"),
        revised({"speaker 2": "Ann"}, a="Ann", b="Ann", c="Ann", never="Ann"),
        revised({}, b=None),
    ]
    pipe, screen = io.StringIO(), io.StringIO()
    lines = PlainLines(pipe)
    live = LiveScreen("pulse", Console(file=screen, width=100, legacy_windows=False))
    for event in told:
        lines.take(event)
        live.take(event)
    live.close()
    after_all = [
        "after all: speaker 2 is Ann",
        "after all: Ann spoke at 0:01.0, 0:04.0",
        "after all: uncertain speaker spoke at 0:04.0",
    ]
    assert "0:01.0-0:02.0  speaker 1  happy" in pipe.getvalue()
    assert [line for line in pipe.getvalue().splitlines() if "after" in line] == after_all
    assert [
        line.rstrip() for line in screen.getvalue().splitlines() if "after" in line
    ] == after_all
    assert "speaker 2: well" in screen.getvalue()


def test_the_name_of_whoever_speaks_stands_out_from_the_words() -> None:
    """It alone is bold."""
    screen = io.StringIO()
    live = LiveScreen(
        "pulse", Console(file=screen, width=100, color_system="standard", force_terminal=True)
    )
    for event in (created(), *guess("a", 1000, "speaker 1")):
        live.take(event)
    live.close()
    assert "\x1b[1mspeaker 1: \x1b[0mwell" in screen.getvalue()


def test_each_who_speaks_in_an_utterance_is_told_below_it() -> None:
    """On a terminal as in a pipe; who said too little to be read, too."""
    body = emotion("sad")
    read = PartEmotion(**{name: getattr(body, name) for name in PartEmotion.__struct_fields__})
    parts = (
        SpeakerPart(start_ms=1000, end_ms=2200, speaker="speaker 1", emotion=read),
        SpeakerPart(start_ms=2200, end_ms=3000, speaker=None),
    )
    words, final = guess("a", 1000, "speaker 1")
    assert isinstance(final, EmotionCompleted)
    pipe, screen = io.StringIO(), io.StringIO()
    lines = PlainLines(pipe)
    live = LiveScreen("pulse", Console(file=screen, width=100, legacy_windows=False))
    for event in (created(), words, msgspec.structs.replace(final, parts=parts)):
        lines.take(event)
        live.take(event)
    live.close()
    below = [
        "    speaker 1, 1.2 s of it: sad 68%  V +0.50 A -0.50 D –",
        "    uncertain speaker, 0.8 s of it: too short to be read",
    ]
    assert pipe.getvalue().splitlines()[1:] == below
    assert [line.rstrip() for line in screen.getvalue().splitlines() if " of it" in line] == below


def test_nobody_is_named_where_nobody_can_tell_whose_voice_it_is() -> None:
    """Rather than a wrong one."""
    first, _ = guess("a", 1000, None)
    finished = after(created(), first).finished
    assert finished is not None
    assert finished.speaker == "uncertain speaker"
