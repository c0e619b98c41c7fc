"""How a user sounded, on its way through a Pipecat pipeline to the context of an LLM."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from pipecat.frames.frames import (
    DataFrame,
    Frame,
    LLMContextFrame,
    TranscriptionFrame,
    UserStartedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from streamser.events import EmotionBody
from streamser.integrations.notes import (
    UserReading,
    find_emotion,
    put_note,
    readings_of,
    take_note,
)

__all__ = ["EmotionContextProcessor", "EmotionFrame", "EmotionReader", "as_builtins"]

_UNATTACHED: Final = 64


@dataclass
class EmotionFrame(DataFrame):
    """Tell how somebody sounded; it goes before the transcription of the same words.

    ``text`` is ``None`` where no words are recognised. An interruption does not drop it.
    """

    text: str | None
    emotion: EmotionBody
    interruptible: bool = field(default=False, init=False)


class EmotionReader(FrameProcessor):
    """Find the emotion in transcriptions that the services of others got from our server.

    It stands between such a service and the user's aggregator.
    """

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Send an ``EmotionFrame`` before each transcription that has one inside."""
        await super().process_frame(frame, direction)
        if isinstance(frame, TranscriptionFrame):
            emotion = find_emotion(frame.result)
            if emotion is not None:
                frame.metadata["emotion"] = as_builtins(emotion)
                await self.push_frame(EmotionFrame(frame.text.strip(), emotion), direction)
        await self.push_frame(frame, direction)


class EmotionContextProcessor(FrameProcessor):
    """Write how the user sounded at the head of the newest message, and take older notes out.

    It stands between the user's aggregator and the LLM. A reading belongs to the message in
    which its words stand; what ``write_note`` leaves out is left out here.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._readings: deque[UserReading] = deque(maxlen=_UNATTACHED)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Remember readings, and see to each context on its way to the LLM."""
        await super().process_frame(frame, direction)
        if isinstance(frame, EmotionFrame):
            self._readings.append(UserReading(frame.text, frame.emotion))
        elif isinstance(frame, UserStartedSpeakingFrame):
            # One without words that came too late for its message is not the next one's.
            worded = [each for each in self._readings if each.text is not None]
            self._readings = deque(worded, maxlen=_UNATTACHED)
        elif isinstance(frame, LLMContextFrame) and direction is FrameDirection.DOWNSTREAM:
            self._annotate(frame.context.get_messages())
        await self.push_frame(frame, direction)

    def _annotate(self, messages: list[Any]) -> None:
        said = [each for each in messages if isinstance(each, dict) and each.get("role") == "user"]
        for old in said[:-1]:
            _rewrite(old, take_note)
        if said:
            _rewrite(said[-1], self._noted)

    def _noted(self, text: str) -> str:
        own = readings_of(text, self._readings)
        if not own:
            # It has its note already, or nothing is known of it.
            return text
        while self._readings and self._readings.popleft() is not own[-1]:
            pass
        return put_note(text, own)


def _rewrite(message: dict[str, Any], change: Any) -> None:
    """Change the text of a message, or the first text among its parts."""
    content = message.get("content")
    if isinstance(content, str):
        message["content"] = change(content)
    elif isinstance(content, list):
        texts = (part for part in content if isinstance(part, dict) and part.get("type") == "text")
        for part in texts:
            part["text"] = change(part["text"])
            return


def as_builtins(told: msgspec.Struct) -> dict[str, Any]:
    """Return a record as the mapping that JSON would hold."""
    plain: dict[str, Any] = msgspec.to_builtins(told)
    return plain
