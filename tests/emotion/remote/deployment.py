"""A model elsewhere as Ray Serve would have it, that does what a test wants of it."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from streamser.emotion.calibration import entropy
from streamser.emotion.model import EmotionModel, Prediction, PredictorModel, Segment
from streamser.emotion.remote.serving import ReadingService, segments_of
from streamser.events import EmotionCompleted
from streamser.pipeline.analyzer import Analyzer
from streamser.settings import (
    AsrSettings,
    EmotionSettings,
    PartialSettings,
    Settings,
    WorkerSettings,
)
from streamser.taxonomy import Dimensions

__all__ = ["Always", "Deployment", "deployed", "finals"]

Answer = Callable[[bytes | None], tuple[int, bytes]]


class Always:
    """A model that says the same of everything, and keeps what it was asked."""

    modalities: tuple[str, ...] = ("audio",)

    def __init__(self, name: str = "big", arousal: float = 0.5) -> None:
        self.name = name
        self.asked: list[Segment] = []
        self._arousal = arousal

    def predict(self, segments: Sequence[Segment]) -> list[Prediction]:
        """Say so of each."""
        self.asked += segments
        scores = {"neutral": 0.1, "happy": 0.7, "sad": 0.1, "angry": 0.1}
        felt = Dimensions(valence=0.6, arousal=self._arousal, dominance=None)
        told = Prediction("happy", 0.7, scores, felt, entropy(scores), ("audio",), {"loud": 1.0})
        return [told for _ in segments]


class Deployment:
    """Answer at a port of this machine; ``does`` may be replaced while it runs.

    ``headers`` go with each answer; with a ``token``, it is asked for.
    """

    def __init__(self, model: EmotionModel, tls: ssl.SSLContext | None = None) -> None:
        self._service = ReadingService(model)
        self._tls = tls
        self.headers: dict[str, str] = {}
        self.token: str | None = None
        self.does: Answer = self.well
        self.asked = 0
        """How many questions came, those for the card among them."""
        self.over = threading.Event()
        self.connections: list[socket.socket] = []
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        """Say where it is."""
        return f"http{'' if self._tls is None else 's'}://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Be there; at the same port as before."""
        here = self

        class Handler(_Handler):
            deployment = here

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        if self._tls is not None:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Die, with all connections."""
        self._server.shutdown()
        self._server.server_close()
        for each in self.connections:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self.connections.clear()

    def note(self, connection: socket.socket) -> None:
        """Keep a connection, to cut it in the end."""
        self.connections.append(connection)

    def well(self, body: bytes | None) -> tuple[int, bytes]:
        """Answer as one should."""
        if body is None:
            return 200, self._service.greeting()
        return 200, self._service.answer(self._service.read(segments_of(body)))

    def never(self, body: bytes | None) -> tuple[int, bytes]:
        """Answer once the test is over."""
        self.over.wait()
        return 200, b""


class _Handler(BaseHTTPRequestHandler):
    deployment: Deployment
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.deployment.note(self.connection)

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes | None) -> None:
        self.deployment.asked += 1
        status, data = 401, b"who are you"
        if self.deployment.token in (None, self._token()):
            status, data = self.deployment.does(body)
        self.send_response(status)
        for name, value in self.deployment.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _token(self) -> str:
        return str(self.headers.get("Authorization")).removeprefix("Bearer ")

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()


@contextmanager
def deployed(
    model: EmotionModel | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[Deployment]:
    """Deploy a model, such as ``Always``, and let it die in the end."""
    deployment = Deployment(PredictorModel(Always()) if model is None else model, tls)
    try:
        yield deployment
    finally:
        deployment.over.set()
        deployment.stop()


def finals(talk: Path, remote: str | None) -> list[EmotionCompleted]:
    """Read a recording with rules, or a model elsewhere; without words and partials."""
    settings = Settings(
        asr=AsrSettings(engine="none"),
        partial=PartialSettings(every_ms=0),
        emotion=EmotionSettings(model="rules", remote=remote, remote_s=20),
        worker=WorkerSettings(max_batch=1),
    )
    with Analyzer(settings) as analyzer:
        events = list(analyzer.stream(str(talk)))
    return [event for event in events if isinstance(event, EmotionCompleted)]
