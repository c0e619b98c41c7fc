from __future__ import annotations

import itertools
import queue
from collections.abc import Iterator

import numpy as np
import pytest

from streamser.audio.reader import AudioItem, AudioReader, Chunk, EndOfStream, LostAudio
from streamser.audio.source import Frames, Gap
from streamser.errors import AudioError


class Tape:
    """Yield prepared pieces at a rate, then end or break off."""

    name = "tape"
    channels = 1
    live = False
    duration = None

    def __init__(
        self, pieces: list[Frames | Gap], rate: int = 16_000, error: BaseException | None = None
    ) -> None:
        self.rate = rate
        self.stopped = False
        self._pieces = pieces
        self._error = error

    def chunks(self) -> Iterator[Frames | Gap]:
        for piece in self._pieces:
            if self.stopped:
                return
            yield piece
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        self.stopped = True


def frames(length: int, level: float = 0.1) -> Frames:
    """Make mono frames of a tone."""
    return (level * np.sin(np.arange(length) / 7)).astype(np.float32)[:, None]


def play(tape: Tape) -> list[AudioItem]:
    """Take all that a feed posts, saying "heard" to each piece."""
    box: queue.SimpleQueue[AudioItem] = queue.SimpleQueue()
    ticks = itertools.count()
    feed = AudioReader(tape, None, box.put, lambda: float(next(ticks)))
    feed.start()
    items: list[AudioItem] = []
    while not (items and isinstance(items[-1], EndOfStream)):
        items.append(box.get(timeout=60))
        if isinstance(items[-1], Chunk):
            feed.consumed(len(items[-1].samples))
    feed.abandon()
    return items


def samples(items: list[AudioItem]) -> int:
    """Count the samples heard."""
    return sum(len(item.samples) for item in items if isinstance(item, Chunk))


def test_all_sound_comes_in_order_and_in_pieces_of_at_most_half_a_second() -> None:
    """However long the source's own pieces are."""
    tape = Tape([frames(100_000), frames(3), frames(0)])
    items = play(tape)
    heard = [item.samples for item in items if isinstance(item, Chunk)]
    assert max(map(len, heard)) <= 8000
    assert np.array_equal(np.concatenate(heard), np.concatenate([frames(100_000), frames(3)])[:, 0])
    assert items[-1] == EndOfStream(None, 0, 0.0)


def test_a_piece_tells_how_far_sound_had_arrived_though_the_resampler_holds_some_back() -> None:
    """So that the lag is counted from the sound's arrival, not from its conversion."""
    items = play(Tape([frames(960) for _ in range(100)], rate=48_000))
    heard = [item for item in items if isinstance(item, Chunk)]
    given = 0
    for item in heard[:-1]:
        given += len(item.samples)
        assert item.reached >= given
    assert heard[0].reached > len(heard[0].samples)
    assert heard[-1].reached == samples(items) == 32_000


def test_silence_stands_for_what_was_lost() -> None:
    """The loss is told at its place, and the audio clock stays true."""
    items = play(Tape([frames(160), Gap(1600, "dropped"), frames(160)]))
    assert [type(item) for item in items] == [Chunk, LostAudio, Chunk, Chunk, EndOfStream]
    assert items[1] == LostAudio(1600, "dropped", at=160)
    lost = items[2]
    assert isinstance(lost, Chunk)
    assert len(lost.samples) == 1600
    assert not lost.samples.any()
    assert samples(items) == 1920


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_lost_sound_is_measured_truly_at_any_rate(rate: int) -> None:
    """Not by what the resampler happens to let out."""
    gaps: list[Frames | Gap] = []
    for _ in range(50):
        gaps += [frames(rate // 10), Gap(rate // 50, "overflow")]
    missed = [item for item in play(Tape(gaps, rate=rate)) if isinstance(item, LostAudio)]
    assert sum(item.samples for item in missed) == 50 * 320
    assert missed[0].at == 1600


def test_a_feed_that_never_began_can_be_abandoned() -> None:
    """A consumer may leave before the first sound."""
    tape = Tape([frames(16)])
    AudioReader(tape, None, lambda item: None, lambda: 0.0).abandon()
    assert tape.stopped


def test_a_source_that_breaks_in_an_unforeseen_way_still_gives_what_was_held() -> None:
    """Whatever the fault, what was heard is analysed."""
    items = play(Tape([frames(48_000)], rate=48_000, error=OSError("no such device")))
    assert samples(items) == 16_000
    ended = items[-1]
    assert isinstance(ended, EndOfStream)
    assert isinstance(ended.error, OSError)


def test_a_source_that_breaks_off_still_gives_what_the_resampler_held() -> None:
    """Nothing that was heard is lost."""
    fault = AudioError("gone.", code="device_lost")
    items = play(Tape([frames(48_000)], rate=48_000, error=fault))
    assert samples(items) == 16_000
    assert items[-1] == EndOfStream(fault, 0, 0.0)


def test_numbers_that_are_none_and_clipping_are_counted() -> None:
    """Over the whole source."""
    bad = frames(100)
    bad[:10] = np.nan
    loud = frames(100, level=5.0)
    ended = play(Tape([bad, loud]))[-1]
    assert isinstance(ended, EndOfStream)
    assert ended.repaired == 10
    assert 0.2 < ended.clipped_share < 0.5


def test_an_abandoned_feed_ends_although_nobody_hears_its_pieces() -> None:
    """A consumer that leaves is not waited for."""
    box: queue.SimpleQueue[AudioItem] = queue.SimpleQueue()
    tape = Tape([frames(100_000)] * 100)
    feed = AudioReader(tape, None, box.put, lambda: 0.0)
    feed.start()
    box.get(timeout=60)
    feed.abandon()
    assert tape.stopped
    assert box.qsize() < 100


def test_a_feed_reads_no_further_than_it_was_told() -> None:
    """Until somebody hears: then as far as is usual, and no sound is lost on the way."""
    box: queue.SimpleQueue[AudioItem] = queue.SimpleQueue()
    tape = Tape([frames(1600)] * 300)
    feed = AudioReader(tape, None, box.put, lambda: 0.0)
    feed.start(ahead=16_000)
    kept = [box.get(timeout=60) for _ in range(10)]
    assert samples(kept) == 16_000
    with pytest.raises(queue.Empty):
        box.get(timeout=0.05)
    feed.keep_less()
    heard = 0
    items = kept
    while items:
        item = items.pop(0)
        if isinstance(item, Chunk):
            heard += len(item.samples)
            feed.consumed(len(item.samples))
        if not isinstance(item, EndOfStream) and not items:
            items.append(box.get(timeout=60))
    feed.abandon()
    assert heard == 300 * 1600
