"""The door for requests with a body: who may come in, how many at once, and what they are told."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from websockets.http11 import Response

from streamser.errors import ModelError
from streamser.export.records import UtteranceRecord
from streamser.hosting.hosted import run_beside
from streamser.server.handshake import REST, ConnectRequest, Handshake, Principal
from streamser.server.http import respond, unreadable
from streamser.server.limits import Admission, Refusal
from streamser.server.rest import answers
from streamser.server.rest.exchange import Exchange, RefusedUpload, RequestHead, refused
from streamser.server.rest.form import (
    FORM_BYTES,
    MODELS,
    TranscriptionOrder,
    UploadForm,
    too_long,
    unknown_model,
)
from streamser.server.rest.transcription import Heard, UploadedSound
from streamser.server.stream import StreamResources
from streamser.server.telemetry import SORRY, LogThrottle, Metrics, log_fault, log_info
from streamser.settings import ServerSettings

_TRANSCRIPTIONS, _MODELS = REST
_RETRY_S: Final = 5
_HUNG_UP: Final = 499
"""What is counted where nobody waits for an answer any more."""
_HEADERS: Final = re.compile(r"[A-Za-z0-9-]+( ?, ?[A-Za-z0-9-]+)*")
"""What a page may ask to send."""


class _Visit:
    """Keep what is known of a request while it is here."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.principal: Principal | None = None
        self.holds_place = False
        self.ending: RefusedUpload | None = None
        """Why we have it end, where we have."""
        self.heard: Heard | None = None


class UploadDoor:
    """Answer requests with a body, and those about models; ``resources`` are there once loaded.

    ``server.max_uploads`` files are here at a time, of the tokens of one name no more than their
    share; each may be as long as ``server.max_upload_mib`` and ``server.max_upload_s`` say.
    """

    def __init__(
        self, own: ServerSettings, handshake: Handshake, admission: Admission, metrics: Metrics
    ) -> None:
        self.resources: StreamResources | None = None
        self._own = own
        self._most = own.max_upload_mib * 2**20
        self._handshake = handshake
        self._admission = admission
        self._metrics = metrics
        self._throttle = LogThrottle(time.monotonic)
        self._created = int(time.time())
        self._visits: dict[Exchange, _Visit] = {}
        self._uploads: Counter[str] = Counter()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def uploads(self) -> int:
        """Return how many files are here."""
        return self._uploads.total()

    async def serve(self, exchange: Exchange) -> None:
        """Answer one request, whatever becomes of it."""
        visit = self._visits[exchange] = _Visit()
        self._empty.clear()
        status = _HUNG_UP
        try:
            status = await self._attend(exchange, visit)
        except asyncio.CancelledError:
            if visit.ending is not None:
                status = self._refuse(exchange, visit, visit.ending)
        except RefusedUpload as fault:
            status = self._refuse(exchange, visit, fault)
        except ModelError as error:
            unable = refused(503, error.code, str(error), retry_s=_RETRY_S)
            status = self._refuse(exchange, visit, unable)
        except Exception as error:
            log_fault(error, peer=exchange.peer)
            self._metrics.fault()
            status = self._refuse(exchange, visit, refused(500, "internal_error", SORRY))
        finally:
            self._leave(exchange, visit, status)

    def read(self, request: ConnectRequest) -> Response | Refusal | None:
        """Answer a request without a body; ``None`` where there is nothing of ours."""
        if request.path == _TRANSCRIPTIONS:
            return self._word(request, refused(405, "method_not_allowed", _POST), allow="POST")
        name = request.path.removeprefix(_MODELS)
        if name == request.path or name[:1] not in ("", "/"):
            return None
        principal = self._handshake.authenticate(request)
        if isinstance(principal, Refusal):
            return principal
        if self.resources is None:
            return _later(503, "not_ready", "the server is loading its models").refusal
        models = self.resources.models
        if not name:
            body = answers.word_models(self._created, models)
        elif (name := name[1:]) in MODELS:
            body = answers.word_model(name, self._created, models)
        else:
            return self._word(request, unknown_model(name))
        return respond(200, answers.JSON, answers.encode_body(body), more=_shared_with(request))

    def disconnect(self, may_stay: Callable[[Principal], bool]) -> None:
        """End the requests of those who may stay no more."""
        ending = refused(401, "unauthorized", "the token is not known here any more")
        for exchange, visit in list(self._visits.items()):
            if visit.principal is not None and not may_stay(visit.principal):
                self._interrupt(exchange, visit, ending)

    async def wait_until_empty(self) -> None:
        """Wait until nothing is answered any more."""
        await self._empty.wait()

    async def stop(self) -> None:
        """End all that is still being answered, and say so."""
        for exchange, visit in list(self._visits.items()):
            ending = _later(503, "shutting_down", "the server is about to end")
            self._interrupt(exchange, visit, ending)
        await self._empty.wait()

    async def _attend(self, exchange: Exchange, visit: _Visit) -> int:
        head = exchange.head
        if head is None:
            assert exchange.fault is not None, "without a head there is a fault"
            raise exchange.fault
        request = head.request
        ours = request.path == _TRANSCRIPTIONS or request.path.startswith(_MODELS)
        if not ours:
            return exchange.answer(unreadable(head.method))
        if head.ambiguous:
            raise refused(400, "invalid_request", "a header stands there twice")
        if head.method == "OPTIONS":
            return exchange.answer(self._allow(head))
        if request.path != _TRANSCRIPTIONS or head.method != "POST":
            posts = request.path == _TRANSCRIPTIONS
            fault = refused(405, "method_not_allowed", _POST if posts else _GET)
            return exchange.answer(self._word(request, fault, allow="POST" if posts else "GET"))
        principal = self._handshake.authenticate(request)
        if isinstance(principal, Refusal):
            raise RefusedUpload(principal)
        visit.principal = principal
        exchange.settle(self._most + FORM_BYTES)
        resources = self._let_in(principal.name)
        if (head.announced or 0) > self._most + FORM_BYTES:
            raise too_long(self._most)
        self._uploads[principal.name] += 1
        visit.holds_place = True
        return await self._transcribe(exchange, visit, resources)

    async def _transcribe(
        self, exchange: Exchange, visit: _Visit, resources: StreamResources
    ) -> int:
        head = exchange.head
        assert head is not None, "it has a body"
        form = UploadForm(head.field(b"content-type"), self._most)
        try:
            await form.read(exchange.pieces())
            assert form.path is not None, "a form that was read has a file"
            order = form.order(
                self._handshake.languages, has_word_times=resources.settings.asr.word_times
            )
            answer = _Answer(exchange, head.request, order, resources)
            sound = UploadedSound(
                order,
                resources,
                None if visit.principal is None else visit.principal.speaker,
                self._metrics.event,
                answer.tell,
            )
            async with asyncio.timeout(self._own.session_s):
                visit.heard = await sound.run(
                    form.path, self._own.max_upload_s, lambda: self._admission.streams > 0
                )
        except TimeoutError:
            most = f"a file may take {self._own.session_s:g} s here"
            raise refused(503, "session_expired", most) from None
        finally:
            form.close()
        self._metrics.sound(visit.heard.seconds)
        return await answer.finish(visit.heard)

    def _let_in(self, owner: str) -> StreamResources:
        """Return what a file is analysed with; raises ``RefusedUpload`` where it cannot be now."""
        admission, most = self._admission, self._own.max_uploads
        if admission.leaving:
            raise _later(503, "shutting_down", "the server is about to end")
        if not admission.serving or self.resources is None:
            raise _later(503, "not_ready", "the server is loading its models")
        if admission.late:
            raise _later(503, "overloaded", f"finals are {admission.late_s:.1f} s late")
        if (refusal := admission.refuse_visit(owner)) is not None:
            raise _later(429, refusal.code, f"the token {owner!r} comes again and again")
        if self.uploads >= most:
            raise _later(429, "too_many_uploads", f"{most} files are being analysed")
        share = admission.share_of(most)
        if self._uploads[owner] >= share:
            why = f"the token {owner!r} has as many files here as it may ({share})"
            raise _later(429, "too_many_uploads_of_token", why)
        return self.resources

    def _allow(self, head: RequestHead) -> Response:
        """Tell a page of another site what it may send."""
        request = head.request
        if (stranger := self._handshake.check_origin(request)) is not None:
            raise RefusedUpload(stranger)
        asked = head.field(b"access-control-request-headers") or ""
        more = {"Access-Control-Allow-Methods": "GET, POST", "Access-Control-Max-Age": "600"}
        if _HEADERS.fullmatch(asked):
            more["Access-Control-Allow-Headers"] = asked
        return respond(204, answers.JSON, b"", more=more | _shared_with(request))

    def _word(
        self, request: ConnectRequest, fault: RefusedUpload, *, allow: str | None = None
    ) -> Response:
        refusal = fault.refusal
        more = {} if refusal.code in ("wrong_origin", "wrong_host") else _shared_with(request)
        body = answers.encode_body(answers.word_error(fault))
        return respond(
            refusal.status, answers.JSON, body, retry_s=refusal.retry_s, allow=allow, more=more
        )

    def _refuse(self, exchange: Exchange, visit: _Visit, fault: RefusedUpload) -> int:
        """Say no, also where an answer has begun; write that down."""
        refusal = fault.refusal
        self._metrics.refused(refusal.code)
        request = ConnectRequest("/") if exchange.head is None else exchange.head.request
        # The code alone: the message may quote what the client has sent.
        self._throttle.log_info(
            "refused",
            refusal.code,
            peer=exchange.peer,
            owner=None if visit.principal is None else visit.principal.name,
            path=request.path[:80],
            status=refusal.status,
            reason=refusal.code,
        )
        if exchange.answered:
            exchange.go_on(answers.word_late_error(fault))
            exchange.end_answer()
        else:
            exchange.answer(self._word(request, fault))
        return refusal.status

    def _interrupt(self, exchange: Exchange, visit: _Visit, ending: RefusedUpload) -> None:
        visit.ending = ending
        exchange.interrupt()

    def _leave(self, exchange: Exchange, visit: _Visit, status: int) -> None:
        del self._visits[exchange]
        if not self._visits:
            self._empty.set()
        owner = "" if visit.principal is None else visit.principal.name
        if visit.holds_place:
            self._uploads[owner] -= 1
            if not self._uploads[owner]:
                del self._uploads[owner]
            self._metrics.upload(status)
            took = round(time.monotonic() - visit.began, 3)
            sound = None if visit.heard is None else round(visit.heard.seconds, 3)
            log_info(
                "transcribed",
                peer=exchange.peer,
                owner=owner,
                status=status,
                sound_s=sound,
                took_s=took,
            )


class _Answer:
    """Send what is found in a file, as it is found or at the end."""

    def __init__(
        self,
        exchange: Exchange,
        request: ConnectRequest,
        order: TranscriptionOrder,
        resources: StreamResources,
    ) -> None:
        self._exchange = exchange
        self._request = request
        self._order = order
        self._models = resources.models
        self._told = 0

    def tell(self, utterance: UtteranceRecord) -> None:
        """Take an utterance."""
        if self._order.streamed:
            self._begin_stream()
            self._exchange.go_on(answers.word_delta(utterance, self._told))
            self._told += 1

    async def finish(self, heard: Heard) -> int:
        """Answer, or end the answer; raises ``RefusedUpload`` where nothing could be analysed."""
        utterances = heard.timeline.utterances
        faults = [each.fault for each in utterances if each.fault is not None]
        if faults and len(faults) == len(utterances):
            raise refused(503, faults[0].code, faults[0].message, retry_s=_RETRY_S)
        if not self._order.streamed:
            wording = partial(answers.word_transcription, heard, self._order, self._models)
            media_type, body = await run_beside(wording, "streamser-upload")
            return self._exchange.answer(
                respond(200, media_type, body, more=_shared_with(self._request))
            )
        self._begin_stream()
        self._exchange.go_on(answers.word_done(heard))
        self._exchange.end_answer()
        return 200

    def _begin_stream(self) -> None:
        # Only now: what is wrong with a file is told by a status, as long as that can be.
        if not self._exchange.answered:
            more = _shared_with(self._request)
            self._exchange.begin_answer(respond(200, answers.EVENTS, None, more=more))


_POST: Final = f"send a form by POST to {_TRANSCRIPTIONS}"
_GET: Final = f"there is only reading at {_MODELS} (GET)"


def _later(status: int, code: str, message: str) -> RefusedUpload:
    return refused(status, code, f"{message}: try again in {_RETRY_S} s", retry_s=_RETRY_S)


def _shared_with(request: ConnectRequest) -> dict[str, str]:
    """Let the page of another site that may connect read the answer."""
    if request.origin is None:
        return {}
    return {"Access-Control-Allow-Origin": request.origin, "Vary": "Origin"}
