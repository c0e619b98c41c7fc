"""Files posted to a server: who may, how many, and what comes back."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamser.audio.clip import SAMPLE_RATE
from streamser.errors import ModelError
from streamser.export.replay import Playlist
from streamser.logs import FIELDS as LOGGED
from streamser.server.app import EmotionServer
from streamser.server.replay import ReplayServer
from streamser.server.rest.transcription import UploadedSound
from streamser.taxonomy import CATEGORIES, UNSURE
from tests.audio.sounds import encode
from tests.scripted_whisper import build_scripted_whisper
from tests.server.guarding import LISTEN, SEND, bearer, guarded
from tests.server.rest.asking import (
    PLACE,
    Answer,
    answer_of,
    form,
    head,
    part,
    post,
    request,
    transcribed,
    wav,
    wired,
)
from tests.server.serving import (
    Stage,
    demo,
    dial,
    finals_of,
    patience,
    server_settings,
    serving,
    whole,
)
from tests.server.serving import encode as raw

SPOKEN = 9.0
"""Two utterances of the bundled conversation."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Keep a server without words."""
    stage = Stage()
    yield stage
    stage.close()


async def there(server: EmotionServer) -> None:
    """Wait until a file is being taken."""
    while not server._uploads.uploads:
        await asyncio.sleep(0)


def uploads() -> list[Path]:
    """List the files of uploads on this disk."""
    return list(Path(tempfile.gettempdir()).glob("streamser-upload-*"))


def test_a_file_is_read_as_a_stream_of_it_would_be(stage: Stage) -> None:
    """Each utterance is a segment, with the emotion that a stream gets."""

    async def scene() -> None:
        answer = await transcribed(stage.server, wav(), response_format="verbose_json")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
        told = answer.told
        streamed = finals_of(await whole(stage.server, raw(demo()), rate="16000"))
        assert told["duration"] == 15.2
        assert told["usage"] == {"type": "duration", "seconds": 15.2}
        assert [each["emotion"] for each in told["segments"]] == [
            each["emotion"] for each in streamed
        ]
        assert [each["id"] for each in told["segments"]] == [0, 1, 2, 3]
        assert all(0 <= each["start"] < each["end"] <= 15.2 for each in told["segments"])
        assert told["emotion"]["category"] in (*CATEGORIES, UNSURE)
        assert sum(told["emotion"]["scores"].values()) == pytest.approx(1, abs=0.001)
        assert "words" not in told

    stage.play(scene())


def test_each_format_is_answered_in_its_own_media_type(stage: Stage) -> None:
    """JSON where none is asked for; subtitles hold the emotions."""

    async def scene() -> dict[str, Answer]:
        sound = wav(SPOKEN)
        return {
            name: await transcribed(stage.server, sound, response_format=name)
            for name in ("", "text", "srt", "vtt")
        }

    answers = stage.play(scene())
    assert {each.status for each in answers.values()} == {200}
    assert answers[""].told.keys() == {"text", "usage", "emotion"}
    types = [answers[name].headers["Content-Type"] for name in ("text", "srt", "vtt")]
    assert types == ["text/plain; charset=utf-8"] * 2 + ["text/vtt; charset=utf-8"]
    assert answers["text"].body == b"\n"
    assert answers["srt"].body.startswith(b"1\n00:00:00,")
    assert answers["vtt"].body.startswith(b"WEBVTT\n")


def test_a_stream_of_events_has_a_delta_for_each_utterance(stage: Stage) -> None:
    """Then all of it once more, as OpenAI's library wants it."""

    async def scene() -> Answer:
        return await transcribed(stage.server, wav(SPOKEN), stream="true")

    answer = stage.play(scene())
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    *deltas, done = answer.events
    assert [each["type"] for each in deltas] == ["transcript.text.delta"] * 2
    assert [each["segment"]["id"] for each in deltas] == [0, 1]
    assert all(each["segment"]["emotion"]["scores"] for each in deltas)
    assert done.keys() == {"type", "text", "usage", "emotion"}
    assert done["type"] == "transcript.text.done"


def test_words_come_with_their_times_where_the_recogniser_tells_them(tmp_path: Path) -> None:
    """In all, in each segment, and as deltas."""
    whisper = build_scripted_whisper(tmp_path / "scripted", "it is here")

    async def scene() -> None:
        flags = {
            "asr.engine": "whisper",
            "asr.model": str(whisper),
            "asr.word_times": True,
            "worker.processes": 0,
        }
        async with serving(flags) as server:
            asked = [("timestamp_granularities[]", "word"), ("response_format", "verbose_json")]
            told = (await post(server, form(wav(SPOKEN), asked))).told
            streamed = (await transcribed(server, wav(SPOKEN), stream="true")).events
            plain = await transcribed(server, wav(SPOKEN), response_format="text", language="en-GB")
            foreign = await transcribed(server, wav(SPOKEN), language="de")
        assert (told["text"], told["language"]) == ("it is here it is here", "en")
        assert [each["text"] for each in told["segments"]] == ["it is here"] * 2
        assert [each["word"] for each in told["words"]] == ["it", "is", "here"] * 2
        assert all(each["avg_logprob"] <= 0 for each in told["segments"])
        assert [each.get("delta") for each in streamed] == ["it is here", " it is here", None]
        assert streamed[-1]["text"] == told["text"]
        assert plain.body == b"it is here it is here\n"
        assert (foreign.status, foreign.error["code"]) == (400, "unsupported_language")

    asyncio.run(patience(scene()))


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp3", "libmp3lame"), ("a.webm", "libopus"), ("a.ogg", "libopus"), ("a.m4a", "aac")],
)
def test_usual_files_are_read(stage: Stage, tmp_path: Path, name: str, codec: str) -> None:
    """Whatever their name says: of a browser's recorder, a phone, a meeting."""
    sound = np.repeat(demo(4.6), 3)[:, None]
    data = encode(tmp_path / name, sound, 3 * SAMPLE_RATE, codec).read_bytes()

    async def scene() -> list[Answer]:
        fields = [("response_format", "verbose_json")]
        return [await post(stage.server, form(data, fields, each)) for each in (name, "blob")]

    for answer in stage.play(scene()):
        assert answer.status == 200
        assert len(answer.told["segments"]) == 1


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"response_format": "xml"}, "response_format", "json, verbose_json, text, srt, vtt"),
        ({"temperature": "hot"}, "temperature", "a number from 0 to 1"),
        ({"temperature": "nan"}, "temperature", "a number from 0 to 1"),
        ({"stream": "perhaps"}, "stream", "true or false"),
        ({"stream": "true", "response_format": "srt"}, "response_format", "json or text"),
        ({"timestamp_granularities[]": "word"}, "response_format", "verbose_json"),
        (
            {"timestamp_granularities[]": "letter", "response_format": "verbose_json"},
            "timestamp_granularities[]",
            "word or segment",
        ),
        (
            {"timestamp_granularities[]": "word", "response_format": "verbose_json"},
            "timestamp_granularities[]",
            "asr.word_times",
        ),
        ({"language": "klingon!"}, "language", "klingon!"),
        ({"model": ""}, "model", "name a model"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(
    stage: Stage, fields: dict[str, str], param: str, says: str
) -> None:
    """By ``param``, as in OpenAI's errors."""
    answer = stage.play(transcribed(stage.server, wav(0.5), **fields))
    assert (answer.status, answer.error["param"]) == (400, param)
    assert answer.error["type"] == "invalid_request_error"
    assert says in answer.error["message"]


def test_an_unknown_model_is_not_found(stage: Stage) -> None:
    """Neither to transcribe with nor to be looked at; those there are, are listed."""

    async def scene() -> list[Answer]:
        return [
            await transcribed(stage.server, wav(0.5), model="gpt-9"),
            await request(stage.server, head(None, method="GET", path="/v1/models/gpt-9")),
            await request(stage.server, head(None, method="GET", path="/v1/models")),
            await request(stage.server, head(None, method="GET", path="/v1/models/whisper-1")),
            await request(stage.server, head(None, method="GET", path="/v1/modelsx")),
        ]

    post, get, listed, one, other = stage.play(scene())
    assert (post.status, post.error["code"]) == (404, "model_not_found")
    assert (get.status, get.error["code"]) == (404, "model_not_found")
    assert [each["id"] for each in listed.told["data"]] == ["streamser", "whisper-1"]
    assert listed.told["data"][1] == one.told
    assert one.told["models"]["emotion"] == "compact"
    assert (other.status, other.told["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "no_audio"),
        (b"this is no sound" * 40, "not_audio"),
        (wav(1.0)[:40], "not_audio"),
        (b"ID3\x04" + bytes(400), "not_audio"),
    ],
    ids=["empty", "text", "a head alone", "no frames"],
)
def test_what_is_no_sound_is_refused_without_a_name_of_ours(
    stage: Stage, data: bytes, code: str
) -> None:
    """Its sender does not know where it lies here."""
    answer = stage.play(transcribed(stage.server, data))
    assert answer.status == 400
    assert (answer.error["code"], answer.error["param"]) == (code, "file")
    assert tempfile.gettempdir() not in answer.error["message"]
    assert "the file" in answer.error["message"]


def test_a_file_that_breaks_off_is_read_as_far_as_it_goes(stage: Stage) -> None:
    """And says so."""
    sound = wav(SPOKEN)
    answer = stage.play(transcribed(stage.server, sound[: len(sound) // 2]))
    assert answer.status == 200
    (warning,) = answer.told["warnings"]
    assert warning["code"] == "truncated_audio"
    assert tempfile.gettempdir() not in warning["message"]
    assert answer.told["usage"]["seconds"] == pytest.approx(SPOKEN / 2, abs=0.1)


def test_silence_has_no_segments_and_no_emotion(stage: Stage) -> None:
    """Which is no fault."""
    quiet = np.zeros(SAMPLE_RATE, np.int16).tobytes()
    data = wav(0.001)[:40] + len(quiet).to_bytes(4, "little") + quiet
    answer = stage.play(transcribed(stage.server, data, response_format="verbose_json"))
    assert (answer.status, answer.told["segments"], answer.told["emotion"]) == (200, [], None)


def test_nothing_of_a_file_is_kept(stage: Stage) -> None:
    """Neither of one that was read nor of one that was refused; listeners do not hear of it."""

    async def scene() -> None:
        async with dial(stage.server, "/v1/events", query="all") as listener:
            await listener.next()
            await transcribed(stage.server, wav(SPOKEN))
            await transcribed(stage.server, wav(SPOKEN), response_format="xml")
            async with dial(stage.server, query="rate=16000") as wire:
                await wire.finish()
            assert (await listener.next())["type"] == "session.created"
            assert (await listener.next())["type"] == "streamser.session.closed"

    stage.play(scene())
    assert uploads() == []


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("PUT", PLACE, "POST"), ("GET", PLACE, "POST"), ("POST", "/v1/models", "GET")],
)
def test_another_method_is_told_which_one(stage: Stage, method: str, path: str, allow: str) -> None:
    """At each address of its own."""
    answer = stage.play(request(stage.server, head(0, method=method, path=path)))
    if method == "GET":
        answer = stage.play(request(stage.server, head(None, method=method, path=path)))
    assert (answer.status, answer.headers["Allow"]) == (405, allow)
    assert answer.error["code"] == "method_not_allowed"


def test_a_token_is_asked_for_and_must_be_one_that_may_send(token_file: str) -> None:
    """Before anything of the file is taken."""

    async def scene() -> None:
        async with guarded(token_file) as server:
            announced = head(20_000_000)
            refused = await request(server, announced)
            wrong = await post(server, form(wav(0.5)), headers=bearer("nobody-0123456789"))
            listener = await post(server, form(wav(0.5)), headers=bearer(LISTEN))
            good = await post(server, form(wav(0.5)), headers=bearer(SEND))
            models = await request(
                server, head(None, method="GET", path="/v1/models", headers=bearer(SEND))
            )
            unlisted = await request(server, head(None, method="GET", path="/v1/models"))
        assert (refused.status, refused.error["code"]) == (401, "unauthorized")
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
        assert (wrong.status, listener.status, listener.error["code"]) == (401, 403, "forbidden")
        assert (good.status, models.status, unlisted.status) == (200, 200, 401)

    asyncio.run(patience(scene()))


def test_pages_of_other_sites_may_ask_where_they_may_connect() -> None:
    """They are told so before, and may read the answer."""

    def ours(method: str, origin: str, **more: str) -> bytes:
        return head(0, method=method, headers={"Origin": origin, **more})

    async def scene() -> None:
        async with serving({"server.origins": "https://voice.example"}) as server:
            asked = {"Access-Control-Request-Headers": "authorization, content-type"}
            told = await request(server, ours("OPTIONS", "https://voice.example", **asked))
            odd = await request(
                server,
                ours("OPTIONS", "https://voice.example", **{next(iter(asked)): "a;b"}),
            )
            stranger = await request(server, ours("OPTIONS", "https://evil.example", **asked))
            body = form(wav(0.5))
            origin = {"Origin": "https://voice.example"}
            read = await post(server, body, headers=origin)
            kept = await post(server, body, headers={"Origin": "https://evil.example"})
        assert told.status == 204
        assert told.headers["Access-Control-Allow-Headers"] == "authorization, content-type"
        assert "Access-Control-Allow-Headers" not in odd.headers
        for each in (told, read):
            assert each.headers["Access-Control-Allow-Origin"] == "https://voice.example"
        for each in (stranger, kept):
            assert (each.status, each.error["code"]) == (403, "wrong_origin")
            assert "Access-Control-Allow-Origin" not in each.headers

    asyncio.run(patience(scene()))


def test_a_file_that_is_too_long_is_refused_early() -> None:
    """By what its head announces, by what comes of it, and by how long it sounds."""

    async def scene() -> None:
        flags = {"server.max_upload_mib": 1, "server.max_upload_s": 20.0}
        async with serving(flags) as server:
            announced = await request(server, head(3 * 2**20))
            pieces = [b"100000\r\n" + bytes(2**20) + b"\r\n"] * 2
            begun = b"".join([b"%x\r\n" % len(it := part("file", b"")[:-2]), it, b"\r\n"])
            chunked = head(None, headers={"Transfer-Encoding": "chunked"})
            poured = await request(server, chunked, begun, *pieces)
            lasting = await transcribed(server, wav(21.0, kind="FLAC"))
        for answer in (announced, poured):
            assert (answer.status, answer.error["code"]) == (413, "file_too_big")
        assert (lasting.status, lasting.error["code"]) == (400, "audio_too_long")
        assert "20 s" in lasting.error["message"]

    asyncio.run(patience(scene()))


def test_a_body_may_come_in_pieces_of_any_length(stage: Stage) -> None:
    """Chunked, as clients send what they have not measured."""
    body = form(wav(4.6))
    sizes = [1, 2, 3, 17, 1000, 40_000, len(body)]
    pieces, at = [], 0
    for size in sizes:
        piece, at = body[at : at + size], at + size
        pieces.append(b"%x\r\n" % len(piece) + piece + b"\r\n" if piece else b"")
    chunked = head(None, headers={"Transfer-Encoding": "chunked"})
    answer = stage.play(request(stage.server, chunked, *pieces, b"0\r\n\r\n"))
    assert (answer.status, answer.told["usage"]["seconds"]) == (200, 4.6)


def test_too_many_files_at_once_are_told_to_come_again(token_file: str) -> None:
    """In all, and of one name where there are several; who has left makes room."""

    async def scene() -> None:
        async with guarded(token_file, {"server.max_uploads": 3}) as server:
            body = form(wav(0.5))
            waits = head(len(body), headers=bearer(SEND))
            async with wired(server) as (reader, writer):
                writer.write(waits + body[:100])
                await there(server)
                crowded = await post(server, body, headers=bearer(SEND))
                writer.write(body[100:])
                first = await answer_of(reader)
            again = await post(server, body, headers=bearer(SEND))
        assert (crowded.status, crowded.headers["Retry-After"]) == (429, "5")
        assert crowded.error["code"] == "too_many_uploads_of_token"
        assert (first.status, again.status) == (200, 200)

        async with serving({"server.max_uploads": 1}) as server, wired(server) as (_, writer):
            writer.write(head(10) + b"-")
            await there(server)
            full = await transcribed(server, wav(0.5))
        assert (full.status, full.error["code"]) == (429, "too_many_uploads")

    asyncio.run(patience(scene()))


def test_a_server_that_is_not_ready_or_ends_says_so() -> None:
    """Whoever was being answered is told, too."""

    async def scene() -> None:
        async with serving(load=False) as server:
            early = await transcribed(server, wav(0.5))
            listed = await request(server, head(None, method="GET", path="/v1/models"))
        assert (early.status, early.error["code"]) == (503, "not_ready")
        assert listed.status == 503
        server = EmotionServer(server_settings({"server.drain_s": 0}), lambda line: None)
        await server.start()
        await server.load()
        async with wired(server) as (reader, writer):
            writer.write(head(10) + b"-")
            await there(server)
            await server.drain()
            late = await transcribed(server, wav(0.5))
            await server.stop()
            answer = await answer_of(reader)
        for each in (late, answer):
            assert (each.status, each.error["code"]) == (503, "shutting_down")
            assert int(each.headers["Retry-After"])

    asyncio.run(patience(scene()))
    assert uploads() == []


class Caught:
    """Take the place of the analysis, and wait until it is cancelled or let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()

        async def run(sound: UploadedSound, path: Path, *_: Any) -> None:
            assert path.exists()
            self.begun.set()
            if error is not None:
                raise error
            try:
                await asyncio.Future()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise

        monkeypatch.setattr(UploadedSound, "run", run)


def test_who_hangs_up_is_not_worked_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The place is free at once, the file is gone, and it is counted as what it is."""
    caplog.set_level(logging.INFO, "streamser")

    async def scene() -> None:
        async with serving() as server:
            caught = Caught(monkeypatch)
            body = form(wav(0.5))
            async with wired(server) as (_, writer):
                writer.write(head(len(body)) + body)
                await caught.begun.wait()
            await caught.cancelled.wait()
            await server._uploads.wait_until_empty()
            assert server._uploads.uploads == 0
            assert b'streamser_uploads_total{status="499"} 1.0' in server.metrics.render()

    asyncio.run(patience(scene()))
    assert uploads() == []
    lines = [getattr(record, LOGGED) for record in caplog.records if hasattr(record, LOGGED)]
    (line,) = [each for each in lines if each["event"] == "transcribed"]
    assert (line["status"], line["owner"]) == (499, "anybody")


def test_who_hangs_up_while_it_sends_leaves_nothing(stage: Stage) -> None:
    """Half of a form, then the end of the line."""

    async def scene() -> None:
        body = form(wav(4.6))
        async with wired(stage.server) as (_, writer):
            writer.write(head(len(body)) + body[: len(body) // 2])
            await there(stage.server)
        await stage.server._uploads.wait_until_empty()
        assert stage.server._uploads.uploads == 0

    stage.play(scene())
    assert uploads() == []


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ModelError("no worker is there"), 503, "model_unavailable"),
        (ValueError("of ours: secret"), 500, "internal_error"),
        (TimeoutError(), 503, "session_expired"),
    ],
)
def test_a_fault_of_ours_is_answered_as_such(
    monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, code: str
) -> None:
    """Without a word of what it was."""

    async def scene() -> Answer:
        async with serving() as server:
            Caught(monkeypatch, error)
            return await transcribed(server, wav(0.5))

    answer = asyncio.run(patience(scene()))
    assert (answer.status, answer.error["code"], answer.error["type"]) == (
        status,
        code,
        "server_error",
    )
    assert "secret" not in answer.error["message"]


def test_a_fault_after_the_first_words_ends_the_stream_of_events(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status has gone out; the last event is an error, which OpenAI's library raises."""

    def broken(heard: Any) -> bytes:
        raise ValueError("of ours")

    monkeypatch.setattr("streamser.server.rest.answers.word_done", broken)
    answer = stage.play(transcribed(stage.server, wav(SPOKEN), stream="true"))
    assert answer.status == 200
    assert [each.get("type") for each in answer.events[:-1]] == ["transcript.text.delta"] * 2
    assert answer.events[-1]["error"]["code"] == "internal_error"


def test_a_token_that_goes_takes_its_files_along(
    token_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of others go on."""

    async def scene() -> Answer:
        async with guarded(token_file) as server:
            caught = Caught(monkeypatch)
            body = form(wav(0.5))
            async with wired(server) as (reader, writer):
                writer.write(head(len(body), headers=bearer(SEND)) + body)
                await caught.begun.wait()
                Path(token_file).write_text(f"display listen {LISTEN}\n")
                await server.reload()
                return await answer_of(reader)

    answer = asyncio.run(patience(scene()))
    assert (answer.status, answer.error["code"]) == (401, "unauthorized")


def test_a_replay_takes_no_files() -> None:
    """It only plays what was recorded."""

    async def scene() -> Answer:
        nothing = Playlist(cues=(), sessions=(), meeting=None, notes=())
        server = ReplayServer(server_settings(), nothing, 1.0)
        await server.start()
        try:
            return await transcribed(server, wav(0.5))
        finally:
            await server.stop()

    answer = asyncio.run(patience(scene()))
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_posts_a_file_larger_than_it_sends_unasked(tmp_path: Path) -> None:
    """It waits to be told to go on (100), and reads a refusal instead of sending."""
    path = tmp_path / "talk.wav"
    path.write_bytes(wav(40.0))

    async def curl(server: EmotionServer, *more: str) -> list[str]:
        asked = [f"{server.url}v1/audio/transcriptions", "-F", f"file=@{path}", "-F", *more]
        told = ["-s", "-w", "\\n%{http_code} %{size_upload}", *asked]
        child = await asyncio.create_subprocess_exec("curl", *told, stdout=subprocess.PIPE)
        return (await child.communicate())[0].decode().rsplit("\n", 1)

    async def scene() -> None:
        async with serving({"server.max_upload_mib": 2}) as server:
            body, figures = await curl(server, "model=streamser")
            assert json.loads(body)["usage"]["seconds"] == 40.0
            assert figures.startswith("200 ")
        async with serving({"server.max_upload_mib": 1}) as server:
            path.write_bytes(wav(60.0))
            body, figures = await curl(server, "model=streamser")
            assert json.loads(body)["error"]["code"] == "file_too_big"
            assert figures == "413 0"

    asyncio.run(patience(scene()))


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_commands_of_the_document_do_what_it_says(stage: Stage, tmp_path: Path) -> None:
    """Each as it stands there, but for the port."""
    (tmp_path / "talk.wav").write_bytes(wav(SPOKEN))
    document = Path(__file__).parents[3] / "docs" / "server.md"
    (block,) = re.findall(r"```sh\n(curl .*?)```", document.read_text("utf-8"), re.S)
    commands = [
        line.replace("http://127.0.0.1:8377/", stage.server.url) for line in block.split("\n")
    ]

    async def typed(command: str) -> bytes:
        child = await asyncio.create_subprocess_exec(
            *shlex.split(command),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        return (await child.communicate())[0]

    async def scene() -> list[bytes]:
        return [await typed(command) for command in commands if command]

    plain, verbose, streamed = stage.play(scene())
    assert json.loads(plain)["usage"]["seconds"] == SPOKEN
    assert len(json.loads(verbose)["segments"]) == 2
    assert streamed.count(b"data: ") == 3
