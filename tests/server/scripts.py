"""Scripts of a client, right ones and wrong ones, and what has to answer each message."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import numpy as np
from hypothesis import strategies as st

from tests.server.serving import demo, encode

STOPPED = "input_audio_buffer.speech_stopped"
UPDATED = "session.updated"
RESUMED = "streamser.session.resumed"
CLEARED = "input_audio_buffer.cleared"
EMPTY = "input_audio_buffer_commit_empty"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a message and what must answer it: one event of these types, or nothing.

    An error has to name ``event_id``. ``sound`` says whether it has any in it; ``ordered``
    what order it asks for, which is wrong once there was sound.
    """

    message: str | bytes
    answers: tuple[str, ...] = ()
    event_id: str | None = None
    marker: str | None = None
    sound: bool = False
    ordered: bool | None = None

    def __repr__(self) -> str:
        """Show as much as a reader of a failing script wants to see."""
        shown = self.message if len(self.message) < 200 else f"{self.message[:200]!r}…"
        return f"Step({shown!r}, {self.answers})"


def message(kind: object, event_id: str | None, **fields: Any) -> str:
    """Write a message; it has no ``event_id`` where that is None."""
    named = {} if event_id is None else {"event_id": event_id}
    return json.dumps({"type": kind, **named, **fields})


def update(session: object, event_id: str | None, *answers: str) -> Step:
    """Ask for other settings."""
    text = message("session.update", event_id, session=session)
    return Step(message=text, answers=answers, event_id=event_id)


def wrong(text: str, event_id: str | None) -> Step:
    """Send what cannot be followed."""
    return Step(message=text, answers=("error",), event_id=event_id)


event_ids = st.one_of(st.none(), st.text(max_size=20), st.just("x" * 512))


@st.composite
def raw_sound(draw: st.DrawFn) -> bytes:
    """Make sound of some length in some encoding, which need not be the session's."""
    kind = draw(st.sampled_from(["speech", "silence", "noise", "bytes", "floats", "cut"]))
    encoding = draw(st.sampled_from(["s16le", "f32le", "pcmu", "pcma"]))
    seconds = draw(st.sampled_from([0.0, 0.001, 0.02, 0.3, 1.0]))
    if kind == "speech":
        begin = draw(st.sampled_from([0.5, 2.0, 5.5, 9.2]))
        return encode(demo(seconds, begin), encoding)
    if kind == "silence":
        return bytes(round(seconds * 32_000))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    if kind == "noise":
        return encode(random.uniform(-1, 1, round(seconds * 16_000)).astype(np.float32), encoding)
    if kind == "floats":
        wild = [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, 0.0, 1.0, 0.5]
        return random.choice(wild, round(seconds * 16_000)).astype("<f4").tobytes()
    if kind == "cut":
        return encode(demo(seconds, 1.0), encoding)[: -draw(st.integers(1, 3))]
    return random.bytes(draw(st.sampled_from([1, 2, 3, 5, 7, 997, 100_000])))


appends = st.one_of(
    raw_sound().map(lambda data: Step(message=data, sound=bool(data))),
    st.builds(
        lambda data, event_id: Step(
            message=message(
                "input_audio_buffer.append", event_id, audio=base64.b64encode(data).decode()
            ),
            sound=bool(data),
        ),
        raw_sound(),
        event_ids,
    ),
)

talk = st.sampled_from([(0.3, 3.0), (5.0, 3.6), (8.9, 2.9), (1.0, 1.0)]).map(
    lambda place: Step(message=encode(demo(place[1], place[0])), sound=True)
)
"""Speech as the session hears it best, as long as nothing was changed about its format."""

formats = st.one_of(
    st.just({"type": "audio/pcm", "rate": 16_000}),
    st.builds(
        lambda rate, encoding: {"type": "audio/pcm", "rate": rate, "encoding": encoding},
        st.one_of(st.none(), st.sampled_from([8000, 16_000, 24_000, 48_000]), st.just(11_025)),
        st.sampled_from(["s16le", "f32le"]),
    ),
    st.sampled_from([{"type": "audio/pcmu"}, {"type": "audio/pcma", "rate": 8000}]),
)
turns = st.one_of(
    st.none(),
    st.sampled_from([{"type": "semantic_vad"}, {"type": "semantic_vad", "eagerness": "high"}]),
    st.fixed_dictionaries(
        {"type": st.just("server_vad")},
        optional={
            "threshold": st.sampled_from([0.3, 0.5, 0.9]),
            "prefix_padding_ms": st.integers(0, 1000),
            "silence_duration_ms": st.integers(60, 2000),
            "create_response": st.booleans(),
        },
    ),
)
good_updates = st.builds(
    lambda audio, own, event_id: update(
        {"type": "transcription", "audio": {"input": audio}, "streamser": own},
        event_id,
        UPDATED,
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "format": formats,
            "turn_detection": turns,
            "transcription": st.sampled_from([None, {}, {"model": "whisper-1", "prompt": "names"}]),
            "noise_reduction": st.sampled_from([None, {"type": "near_field"}]),
        },
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "partial_every_ms": st.sampled_from([0, 100, 500, 60_000]),
            "speaker": st.sampled_from([None, "Anna", "Ben", "Ünal 3", "x" * 80]),
        },
    ),
    event_ids,
)
bold_updates = st.builds(
    lambda turns, event_id: update(
        {"audio": {"input": {"turn_detection": turns}}}, event_id, UPDATED, "error"
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("server_vad"),
            "threshold": st.floats(-0.5, 1.5),
            "prefix_padding_ms": st.integers(-10, 11_000),
            "silence_duration_ms": st.integers(0, 61_000),
        }
    ),
    event_ids,
)
orders = st.builds(
    lambda ordered, event_id: Step(
        message=message("session.update", event_id, session={"streamser": {"ordered": ordered}}),
        answers=(UPDATED,),
        event_id=event_id,
        ordered=ordered,
    ),
    st.booleans(),
    event_ids,
)
idle_updates = st.builds(
    lambda session, event_id: update(session, event_id, UPDATED),
    st.sampled_from(
        [
            {"audio": None},
            {"audio": {"input": {"format": None}}},
            {"audio": {"input": {"transcription": {"prompt": "x" * 1025}}}},
            {"streamser": {"ordered": None}},
        ]
    ),
    event_ids,
)
"""What says nothing, or more than is used, is no reason to refuse."""

bad_updates = st.builds(
    lambda session, event_id: update(session, event_id, "error"),
    st.sampled_from(
        [
            None,
            3,
            [],
            {"type": "realtime"},
            {"audio": {"input": {"format": {"type": "audio/mp3"}}}},
            {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 7999}}}},
            {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 192_001}}}},
            {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 2.5}}}},
            {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 10**30}}}},
            {"audio": {"input": {"format": {"type": "audio/pcmu", "rate": 16_000}}}},
            {"audio": {"input": {"format": {"type": "audio/pcm", "encoding": "s24le"}}}},
            {"audio": {"input": {"turn_detection": {"type": "none"}}}},
            {"audio": {"input": {"turn_detection": {"threshold": 0.5}}}},
            {"streamser": {"partial_every_ms": -1}},
            {"streamser": {"partial_every_ms": "often"}},
            {"streamser": {"speaker": ""}},
            {"streamser": {"speaker": " "}},
            {"streamser": {"speaker": "a\nb"}},
            {"streamser": {"speaker": "x" * 81}},
        ]
    ),
    event_ids,
)
commits = event_ids.map(
    lambda event_id: Step(
        message=message("input_audio_buffer.commit", event_id),
        answers=(STOPPED, "error"),
        event_id=event_id,
    )
)
clears = event_ids.map(
    lambda event_id: Step(message=message("input_audio_buffer.clear", event_id), answers=(CLEARED,))
)
markers = st.builds(
    lambda name, event_id: Step(
        message=message("streamser.marker", event_id, id=name), marker=name
    ),
    st.text(min_size=1, max_size=20),
    event_ids,
)
strange = st.one_of(
    st.builds(
        lambda kind, event_id: wrong(message(kind, event_id), event_id),
        st.one_of(
            st.sampled_from(["", "response.create", "session.created", "x" * 2000]),
            st.text(max_size=10).map("?{}".format),
        ),
        event_ids,
    ),
    st.builds(
        lambda audio, event_id: wrong(
            message("input_audio_buffer.append", event_id, audio=audio), event_id
        ),
        st.sampled_from(["a", "====", "ab$d", "AAAA\n", "ÄÖÜ", "AA=A", None, 3, ["AAAA"], {}]),
        event_ids,
    ),
    st.builds(
        lambda name, event_id: wrong(message("streamser.marker", event_id, id=name), event_id),
        st.sampled_from(["", None, 3, "x" * 201]),
        event_ids,
    ),
    st.sampled_from(["{}", '{"type": null}', '{"type": 3, "audio": "AAAA"}']).map(
        lambda text: wrong(json.dumps({**json.loads(text), "event_id": "a"}), "a")
    ),
    st.sampled_from(["commit", "clear"]).map(
        lambda name: wrong(message(f"input_audio_buffer.{name}", "x" * 513), "x" * 512 + "…")
    ),
)
no_messages = st.one_of(
    st.text(max_size=40).map("#{}".format),
    st.sampled_from(
        [
            "",
            " ",
            "{",
            "null",
            "[]",
            "3",
            '"session.update"',
            "NaN",
            "[" * 50_000,
            '{"type":' * 5000,
            "x" * 500_000,
            '{"type": "input_audio_buffer.commit", "event_id": 3}',
            '{"type": "input_audio_buffer.commit", "event_id": "\\ud800"}',
            '{"type": "input_audio_buffer.clear"} {"type": "input_audio_buffer.clear"}',
            '{"type": "streamser.marker", "id": "\\udfff"}',
        ]
    ),
).map(lambda text: wrong(text, None))

by_hand = event_ids.map(
    lambda event_id: update({"audio": {"input": {"turn_detection": None}}}, event_id, UPDATED)
)
steps = st.one_of(
    talk,
    talk,
    talk,
    talk,
    commits,
    commits,
    appends,
    good_updates,
    bold_updates,
    by_hand,
    orders,
    idle_updates,
    bad_updates,
    clears,
    markers,
    strange,
    no_messages,
)
scripts = st.lists(steps, min_size=4, max_size=16)
endings = st.sampled_from(["finish", "finish", "finish", "close", "break", "garbage"])
queries = st.fixed_dictionaries(
    {"rate": st.sampled_from(["16000", "16000", "16000", "8000", "48000"])},
    optional={
        "speaker": st.sampled_from(["Anna", "Ben", "Ünal 3"]),
    },
)
