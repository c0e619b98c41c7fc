from __future__ import annotations

import math

import pytest

from tools.bench_peers.conversation import Utterance
from tools.bench_peers.figures import Figures, figures_of, held, spread, standing
from tools.bench_peers.log import Read, Shown, StreamLog

BEGAN = 100.0


def said(*utterances: tuple[float, float, str]) -> StreamLog:
    """Begin a log with what is said from when to when."""
    return StreamLog(
        utterances=tuple(
            Utterance("clip", start, end, tuple(text.split())) for start, end, text in utterances
        ),
        began=BEGAN,
    )


def two() -> StreamLog:
    """Begin a log with two utterances: they end at 2 and at 5 s."""
    return said((1.0, 2.0, "good morning"), (4.0, 5.0, "how are you"))


def test_a_last_word_counts_from_when_it_stays() -> None:
    """A word that was right, taken back and right again is known only then."""
    log = two()
    log.show(101.5, "", "good")
    log.show(102.2, "", "good morning")
    log.show(102.6, "", "good warning")
    log.show(103.0, "Good morning.", "")
    log.show(105.5, "Good morning.", "How are you?")
    log.show(107.0, "Good morning. How are you?", "")
    found = figures_of([log])
    assert (found.last_word.p50, found.last_word.most) == (0.5, 1.0)
    assert (found.final.p50, found.final.most) == (1.0, 2.0)
    assert found.all_words == found.last_word
    assert found.first_word.p50 == pytest.approx(0.5)
    assert found.first_word.most == pytest.approx(1.5)
    assert (found.wer, found.lost, found.said, found.partials) == (0.0, 0, 5, 4)


def test_a_last_word_is_there_while_others_change() -> None:
    """It counts at once; that all its words stand, only after the last change, words put in too."""
    log = two()
    log.show(102.5, "", "good morning")
    log.show(105.25, "", "good morning how you")
    log.show(105.75, "", "could be good morning how were you")
    log.show(106.5, "", "good morning how are you")
    found = figures_of([log])
    assert (found.last_word.p50, found.last_word.most) == (0.25, 0.5)
    assert (found.all_words.p50, found.all_words.most) == (1.5, 4.5)


def test_text_of_the_next_utterance_does_not_move_the_one_before() -> None:
    """What follows may change as it likes."""
    log = two()
    log.show(102.4, "", "good morning")
    for number in range(5):
        log.show(104.5 + number / 10, "", f"good morning {'how ' * number}")
    log.show(105.5, "", "good morning how are you")
    assert figures_of([log]).last_word.p50 == pytest.approx(0.4)


def test_a_lost_utterance_is_infinitely_late() -> None:
    """It is counted, and spoils the percentiles rather than vanishing from them."""
    log = two()
    log.show(103.0, "good morning", "")
    found = figures_of([log])
    assert found.lost == 1
    assert found.last_word.n == 2
    assert found.last_word.p50 == 1.0
    assert found.last_word.p95 is None
    assert not found.holds


def test_an_utterance_without_its_last_word_is_cut() -> None:
    """Leaving the end out is not quick: it never came. A wrong last word did."""
    log = two()
    log.show(102.5, "good warning", "")
    log.show(104.5, "good warning how", "")
    found = figures_of([log])
    assert (found.lost, found.cut) == (0, 1)
    assert (found.last_word.p50, found.last_word.p95) == (0.5, None)
    assert found.first_word.p50 == 0.5


def test_text_that_was_never_settled_has_no_final() -> None:
    """It was shown and stayed; the server never said that it would."""
    log = two()
    log.show(103.0, "good morning", "")
    log.show(106.0, "good morning", "how are you")
    found = figures_of([log])
    assert found.last_word.p95 == 1.0
    assert found.final.p95 is None


def test_words_put_in_before_an_utterance_do_not_count_as_its_own() -> None:
    """Invented words are errors; the utterance after them begins where its own words do."""
    log = two()
    log.show(102.5, "good morning", "")
    log.show(104.2, "good morning", "thank you")
    log.show(105.8, "good morning thank you how are you", "")
    found = figures_of([log])
    assert found.wer == pytest.approx(2 / 5)
    assert found.last_word.most == pytest.approx(0.8)
    assert found.first_word.most == pytest.approx(1.8)


def test_a_stream_without_any_text_loses_everything() -> None:
    """Nothing shown: every word is left out."""
    found = figures_of([two()])
    assert (found.wer, found.lost) == (1.0, 2)
    assert found.first_word.p50 is None


def test_readings_of_the_voice_are_told_apart() -> None:
    """Finals have a lag; what came while one spoke is counted."""
    log = two()
    log.readings += [Read(101.0, 0.2, False), Read(103.0, 0.9, True, 0.4), Read(106, 1.2, True)]
    found = figures_of([log])
    assert found.readings == 1
    assert found.emotion is not None
    assert found.emotion.most == 1.2
    assert found.emotion_beyond is not None
    assert found.emotion_beyond.n == 1


def test_standing_needs_all_that_comes_before() -> None:
    """A late change of the first word sets all back."""
    shown = [Shown(1.0, "", "a b c"), Shown(2.0, "", "x b c"), Shown(3.0, "a b", "c")]
    assert standing(shown, ["a", "b", "c"], settled=False) == [3.0, 3.0, 3.0]
    assert standing(shown, ["a", "b", "c"], settled=True) == [3.0, 3.0, math.inf]


def test_a_count_is_held_only_with_all_smaller_ones() -> None:
    """Four streams in time are worth nothing where two were not; a broken stream holds nothing."""

    def figures(streams: int, late: float, fault: str | None = None) -> Figures:
        log = said((0.0, 1.0, "yes"))
        log.show(BEGAN + 1 + late, "yes", "")
        log.fault = fault
        return figures_of([log] * streams)

    best = held([figures(4, 1.0), figures(1, 0.5), figures(2, 1.4), figures(8, 1.6)])
    assert best is not None
    assert best.streams == 4
    best = held([figures(1, 0.5), figures(2, 1.6), figures(4, 1.0)])
    assert best is not None
    assert best.streams == 1
    assert held([figures(1, 0.5, "closed")]) is None


def test_percentiles_are_ranks() -> None:
    """No value between two is made up; never is never."""
    found = spread([*range(1, 20), math.inf])
    assert (found.p50, found.p95, found.most) == (10, 19, None)
    assert spread([]).p50 is None
