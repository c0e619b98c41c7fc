"""From speech probabilities to utterances: endpointing as a pure state machine."""

from __future__ import annotations

import math
from collections import deque
from typing import Literal, TypeAlias

import msgspec

from streamser.audio.clip import to_ms, to_samples
from streamser.errors import ConfigError

_GAP_WINDOWS = 2
"""Windows without speech that a word's beginning may contain (a stop consonant: 30-60 ms)."""

_FEWEST_WINDOWS = 8
"""Windows that ``max_length`` must hold, so that its half holds an onset and a cut."""


class EndpointerSettings(msgspec.Struct, frozen=True):
    """Hold the settings of endpointing; lengths in samples at 16 kHz.

    Raises ``ConfigError`` for combinations that cannot work. ``from_ms`` fills
    in what depends on other fields.
    """

    threshold: float = 0.5
    """Probability, in (0, 1], from which a window is speech."""
    release: float = 0.35
    """Probability below which a window is silence; in between, the last verdict stands."""
    min_speech: int = to_samples(96)
    """Speech that must accumulate, over gaps of at most two windows, to open an utterance."""
    silence: int = to_samples(500)
    """Hangover: silence that closes an utterance."""
    pre_roll: int = to_samples(200)
    """Sound before the onset that belongs to the utterance (weak fricatives, breath)."""
    tail: int = to_samples(160)
    """Sound after the last speech that belongs to the utterance; at most half the hangover,
    so that all of it has been heard when ``PauseDetected`` leaves."""
    max_length: int = to_samples(20_000)
    """Length no utterance exceeds, pre-roll and tail included."""
    cut_search: int = to_samples(3_000)
    """The last part of a too long utterance, in which the best place for a cut is sought."""

    def __post_init__(self) -> None:
        if not 0.0 < self.release <= self.threshold <= 1.0:
            raise ConfigError(
                f"speech thresholds must satisfy 0 < release <= threshold <= 1, "
                f"not release {self.release:g}, threshold {self.threshold:g}"
            )
        for name in ("min_speech", "silence", "max_length", "cut_search"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be longer than 0 ms")
        for name in ("pre_roll", "tail"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative")
        if self.tail > self.silence // 2:
            raise ConfigError(
                f"tail ({to_ms(self.tail)} ms) must be at most half the silence that ends "
                f"an utterance ({to_ms(self.silence)} ms)"
            )
        if self.cut_search > self.max_length // 2:
            raise ConfigError(
                f"cut_search ({to_ms(self.cut_search)} ms) must be at most half of "
                f"max_length ({to_ms(self.max_length)} ms)"
            )
        onset = self.pre_roll + (1 + _GAP_WINDOWS) * self.min_speech
        if onset > self.max_length // 2:
            raise ConfigError(
                f"max_length ({to_ms(self.max_length)} ms) must be at least {to_ms(2 * onset)} ms: "
                f"twice pre_roll + 3 x min_speech"
            )

    @classmethod
    def from_ms(
        cls,
        *,
        threshold: float = 0.5,
        release: float | None = None,
        min_speech_ms: float = 96,
        silence_ms: float = 500,
        pre_roll_ms: float = 200,
        tail_ms: float | None = None,
        max_length_ms: float = 20_000,
        cut_search_ms: float | None = None,
    ) -> EndpointerSettings:
        """Build settings from milliseconds.

        Where not given, ``release`` is ``threshold`` - 0.15 (at least 0.01), ``tail_ms`` 160 or
        half the silence, ``cut_search_ms`` 3000 or half of ``max_length_ms``, whichever is less.
        Raises ``ConfigError``.
        """
        if release is None:
            release = max(threshold - 0.15, min(threshold, 0.01))
        if tail_ms is None:
            tail_ms = min(160, silence_ms / 2)
        if cut_search_ms is None:
            cut_search_ms = min(3_000, max_length_ms / 2)
        lengths = {
            "min_speech": min_speech_ms,
            "silence": silence_ms,
            "pre_roll": pre_roll_ms,
            "tail": tail_ms,
            "max_length": max_length_ms,
            "cut_search": cut_search_ms,
        }
        for name, ms in lengths.items():
            if not math.isfinite(ms):
                raise ConfigError(f"{name} must be a number of milliseconds, not {ms}")
        return cls(
            threshold=threshold,
            release=release,
            **{name: to_samples(ms) for name, ms in lengths.items()},
        )


CloseReason: TypeAlias = Literal["pause", "max_length", "commit", "no_sound", "flush"]
"""Why an utterance is over."""


class Opened(msgspec.Struct, frozen=True):
    """Say that an utterance is open; ``start`` (absolute sample) is final and includes pre-roll."""

    start: int


class Extended(msgspec.Struct, frozen=True):
    """Say that a window of the open utterance is speech; ``end`` is where that window ends."""

    end: int


class PauseDetected(msgspec.Struct, frozen=True):
    """Say that half the hangover has passed in silence.

    ``start`` and ``end`` are what ``Closed`` will carry if silence goes on; all of that sound
    has been heard. The one exception: ``max_length`` may cut the utterance earlier, and is then
    followed by ``Opened(cut)`` and by ``PauseDetected(cut, end)`` for the rest.
    """

    start: int
    end: int


class SpeechResumed(msgspec.Struct, frozen=True):
    """Say that speech came back after ``PauseDetected``; ``Extended`` follows."""


class Closed(msgspec.Struct, frozen=True):
    """Say that an utterance is over: the samples from ``start`` to just before ``end``."""

    start: int
    end: int
    reason: CloseReason


EndpointEvent: TypeAlias = Opened | Extended | PauseDetected | SpeechResumed | Closed


class _Window(msgspec.Struct, frozen=True):
    """Keep what the choice of a cut needs of one window."""

    start: int
    probability: float
    level_db: float


class Endpointer:
    """Cut a stream into utterances from one speech probability per window of ``window`` samples.

    Positions count from the first push. Utterances are ordered and never overlap. Raises
    ``ConfigError`` where ``max_length`` holds fewer than eight windows.

    Keeps the windows of the last ``cut_search`` and a handful of numbers, however long the
    stream.
    """

    def __init__(self, settings: EndpointerSettings, window: int) -> None:
        if settings.max_length < _FEWEST_WINDOWS * window:
            raise ConfigError(
                f"max_length ({to_ms(settings.max_length)} ms) must be at least "
                f"{to_ms(_FEWEST_WINDOWS * window)} ms: {_FEWEST_WINDOWS} windows of the detector"
            )
        self.settings = settings
        self.window = window
        self._recent: deque[_Window] = deque(maxlen=max(1, settings.cut_search // window))
        self.reset()

    @property
    def idle(self) -> bool:
        """Return whether no utterance is open and none has begun to."""
        return self._start is None and self._onset is None

    def reset(self) -> None:
        """Forget everything, as at the start of a stream."""
        self._recent.clear()
        self._now = 0
        self._is_speech = False
        self._speech_end = 0
        self._onset: int | None = None
        self._accumulated = 0
        self._start: int | None = None
        self._pausing = False
        self._previous_end = 0
        self._welcome_until = 0

    def push(self, probability: float, level_db: float = 0.0) -> list[EndpointEvent]:
        """Judge the next window; return what it changes, in order.

        ``probability`` is the detector's, in [0, 1]; ``level_db`` the window's level on any
        fixed scale, which decides between equal probabilities where an utterance is cut.
        """
        settings = self.settings
        self._recent.append(_Window(self._now, probability, level_db))
        self._now += self.window
        # Hysteresis: between the two thresholds the last verdict stands.
        self._is_speech = probability >= (
            settings.release if self._is_speech else settings.threshold
        )
        events: list[EndpointEvent] = []
        if self._is_speech:
            self._hear_speech(events)
        elif self._start is not None:
            self._hear_silence(events, self._start)
        elif self._now - self._speech_end > _GAP_WINDOWS * self.window:
            self._onset = None
        # One window early, so that no window that is pushed next can exceed the limit.
        if self._start is not None and self._now - self._start + self.window > settings.max_length:
            self._cut(events, self._start)
        return events

    def flush(self) -> list[EndpointEvent]:
        """Close what is open because the sound ends or is committed here.

        An onset too short to have opened is dropped. Further windows may follow; they belong to
        new utterances.
        """
        events: list[EndpointEvent] = []
        if self._start is not None:
            self._close(events, self._start, self._end_by_pause(), "flush")
        self._is_speech = False
        self._onset = None
        self._welcome_until = 0
        return events

    def drop(self) -> None:
        """Forget the open utterance, or one that is about to open, as if it had been silence."""
        self._start = self._onset = None
        self._is_speech = self._pausing = False
        self._previous_end = self._now
        self._welcome_until = 0

    def _hear_speech(self, events: list[EndpointEvent]) -> None:
        self._speech_end = self._now
        if self._start is None:
            if self._onset is None:
                self._onset = self._now - self.window
                self._accumulated = 0
            self._accumulated += self.window
            welcome = self._onset < self._welcome_until
            if self._accumulated < self.settings.min_speech and not welcome:
                return
            self._open(events, max(self._onset - self.settings.pre_roll, self._previous_end))
        elif self._pausing:
            self._pausing = False
            events.append(SpeechResumed())
        events.append(Extended(self._now))

    def _hear_silence(self, events: list[EndpointEvent], start: int) -> None:
        quiet = self._now - self._speech_end
        if not self._pausing and quiet >= self.settings.silence // 2:
            self._pausing = True
            events.append(PauseDetected(start, self._end_by_pause()))
        if quiet >= self.settings.silence:
            self._close(events, start, self._end_by_pause(), "pause")

    def _cut(self, events: list[EndpointEvent], start: int) -> None:
        """Close at the weakest window; hand the speech after it to a new utterance."""
        weakest = min(self._recent, key=lambda w: (w.probability, w.level_db, -w.start))
        # The middle of a dip in speech is farther from both words than its borders are.
        cut = weakest.start + self.window // 2
        if self._speech_end > cut:
            self._close(events, start, cut, "max_length")
            self._open(events, cut)
            events.append(Extended(self._speech_end))
            if not self._is_speech:
                self._hear_silence(events, cut)
        else:
            self._close(events, start, self._end_by_pause(), "max_length")
            # Without the limit, speech within the hangover would have counted however short.
            self._welcome_until = self._speech_end + self.settings.silence

    def _open(self, events: list[EndpointEvent], start: int) -> None:
        self._start = start
        self._onset = None
        events.append(Opened(start))

    def _close(
        self,
        events: list[EndpointEvent],
        start: int,
        end: int,
        reason: Literal["pause", "max_length", "flush"],
    ) -> None:
        self._start = None
        self._pausing = False
        self._previous_end = end
        events.append(Closed(start, end, reason))

    def _end_by_pause(self) -> int:
        return min(self._speech_end + self.settings.tail, self._now)
