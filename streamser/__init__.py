"""Real-time speech-emotion analysis: sound in, typed emotion events out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamser.api import Live as Live
    from streamser.api import Model as Model
    from streamser.api import Recognizer as Recognizer
    from streamser.api import listen as listen
    from streamser.api import load_model as load_model
    from streamser.audio.microphone import MicrophoneSource
    from streamser.client import connect as connect
    from streamser.client import subscribe as subscribe
    from streamser.errors import *  # noqa: F403
    from streamser.events import *  # noqa: F403
    from streamser.export.read import read_recording as read_recording
    from streamser.export.read import read_session as read_session
    from streamser.export.utterances import Utterance as Utterance
    from streamser.export.utterances import Utterances as Utterances
    from streamser.pipeline.analyzer import Analyzer as Analyzer
    from streamser.settings import Settings as Settings
    from streamser.settings_loader import explain_settings as explain_settings
    from streamser.settings_loader import load_settings as load_settings

    Microphone = MicrophoneSource

__version__ = "0.1.0"

_HOMES = {
    "streamser.api": "Live Model Recognizer listen load_model",
    "streamser.audio.microphone": "MicrophoneSource",
    "streamser.client": "connect subscribe",
    "streamser.errors": "AudioError ConfigError ModelError StreamserError",
    "streamser.events": "Advice Cleared Committed EmotionBody EmotionCompleted EmotionDelta"
    " EmotionProvisional ErrorRaised Event Marker MeetingUpdated MoodShifted MoodUpdated Overload"
    " SessionClosed SessionCreated SessionResumed SessionUpdated Snapshot SpeakersChanged"
    " SpeechStarted SpeechStopped TranscriptPartial TranscriptionCompleted TranscriptionDelta"
    " TranscriptionFailed decode_event encode_event",
    "streamser.export.read": "read_recording read_session",
    "streamser.pipeline.analyzer": "Analyzer",
    "streamser.settings": "Settings",
    "streamser.settings_loader": "explain_settings load_settings",
    "streamser.export.utterances": "Utterance Utterances",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}
# What everybody calls it.
_ALIASES = {"Microphone": "MicrophoneSource"}

__all__ = sorted({*_HOME_OF, *_ALIASES, "__version__"} - set(_ALIASES.values()))


def __getattr__(name: str) -> Any:
    # Importing the package must stay cheap: nothing is loaded before it is asked for.
    if name in __all__:
        from importlib import import_module

        own = _ALIASES.get(name, name)
        return getattr(import_module(_HOME_OF[own]), own)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
