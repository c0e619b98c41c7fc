"""The other end: a big model answers servers elsewhere, in Ray Serve; ``serve run`` begins here.

    serve run streamser.emotion.remote.serving:app model=/models/paper gpus=1 replicas=2

The model lies at that place on each node that may run it, or is one of the hub's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from streamser.audio.clip import SAMPLE_RATE
from streamser.emotion.model import EmotionModel, Prediction, Segment
from streamser.emotion.remote.wire import (
    MOST_BYTES,
    WIRE,
    AskedClips,
    ModelCard,
    ReadClips,
    asked_segments,
    from_bytes,
    to_bytes,
)
from streamser.errors import ConfigError, ModelError, describe
from streamser.settings import EmotionSettings

if TYPE_CHECKING:
    from ray.serve import Application
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["DeployOptions", "ReadingService", "app", "read_options", "segments_of"]


class ReadingService:
    """Read clips with a model, both halves of it; it belongs to the device thread.

    Raises ``ConfigError`` for a model that learns what is usual of speakers: whom it hears, it
    would have to be told with each clip. Such models are small, and stay where the sound is.
    """

    def __init__(self, model: EmotionModel) -> None:
        speaker = model.new_speaker()
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, 2 * SAMPLE_RATE).astype(np.float32)
        (found,) = model.extract([Segment(noise, None)])
        speaker.adapt(found)
        if speaker.snapshot():
            raise ConfigError(
                f"{model.name} learns what is usual of each speaker: it runs beside the sound"
                " (emotion.model), and not elsewhere. Deploy a checkpoint or public models."
            )
        self._model = model
        self._speaker = speaker
        self.card = ModelCard(WIRE, model.name, tuple(model.modalities))

    def try_out(self) -> None:
        """Read faint noise; raises what the model raises where it cannot read any more."""
        noise = np.random.default_rng(0).uniform(-0.01, 0.01, SAMPLE_RATE).astype(np.float32)
        self.read([Segment(noise, None)])

    def read_each(self, segments: Sequence[Segment]) -> list[tuple[Prediction, float] | Exception]:
        """Read clips of whoever asks; where they cannot be read together, one after the other.

        Each has a reading, or what the model has raised: nobody's clip spoils those of others.
        """
        try:
            return list(self.read(segments))
        except Exception as error:
            if len(segments) == 1:
                return [error]
            return [found for each in segments for found in self.read_each([each])]

    def read(self, segments: Sequence[Segment]) -> list[tuple[Prediction, float]]:
        """Read clips, float32 [n] at 16 kHz; a reading of each and the ms that all of them took.

        Raises what the model raises.
        """
        began = time.perf_counter()
        found = self._model.extract(segments)
        readings = [self._speaker.predict(each) for each in found]
        took_ms = 1000 * (time.perf_counter() - began)
        return [(reading, took_ms) for reading in readings]

    def greeting(self) -> bytes:
        """Say which model is here."""
        return to_bytes(self.card)

    def answer(self, read: Sequence[tuple[Prediction, float]]) -> bytes:
        """Write readings as they are sent."""
        longest = max((took for _, took in read), default=0.0)
        readings = tuple(reading for reading, _ in read)
        return to_bytes(ReadClips(WIRE, self.card.model, readings, round(longest, 3)))


def segments_of(body: bytes) -> list[Segment]:
    """Return what a question is about; raises ``ModelError`` for what is none."""
    return asked_segments(from_bytes(body, AskedClips))


class DeployOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Say what is deployed, and how; each as ``NAME=VALUE`` after ``serve run``.

    ``model``, ``device``, ``precision`` and ``threads`` are those of ``emotion`` in the settings.
    ``replicas`` run at the same time, each with ``cpus`` and ``gpus``, where parts of one are
    allowed. A batch has ``max_batch`` clips of whoever asks, and waits ``wait_ms`` for more;
    while ``max_waiting`` questions wait, others are sent away, and are read where they come from.
    """

    model: str
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16", "float16", "int8"] = "auto"
    threads: Annotated[int, Meta(ge=0, le=1024)] = 0
    replicas: Annotated[int, Meta(ge=1)] = 1
    cpus: Annotated[float, Meta(ge=0)] = 1.0
    gpus: Annotated[float, Meta(ge=0)] = 0.0
    max_batch: Annotated[int, Meta(ge=1, le=1024)] = 16
    wait_ms: Annotated[float, Meta(ge=0, le=1000)] = 5.0
    max_waiting: Annotated[int, Meta(ge=1)] = 64


def read_options(asked: Mapping[str, Any]) -> DeployOptions:
    """Read what stands after ``serve run``; raises ``ConfigError`` for what does not fit."""
    try:
        return msgspec.convert(dict(asked), DeployOptions, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"{error}: write model=NAME, and of {', '.join(DeployOptions.__struct_fields__[1:])}"
            " what differs."
        ) from None


def app(asked: dict[str, Any]) -> Application:
    """Return what Ray Serve deploys; raises ``ConfigError`` for options that do not fit."""
    options = read_options(asked)
    from ray import serve

    class EmotionReader:
        """Answer servers; each replica has a model of its own, on a thread of its own."""

        def __init__(self) -> None:
            self._device = ThreadPoolExecutor(1, "streamser-device")
            self._is_doubtful = False
            self._service = self._device.submit(_load, options).result()

        async def __call__(self, request: Request) -> Response:
            from starlette.responses import PlainTextResponse, Response

            kind = "application/msgpack"
            if request.method == "GET":
                return Response(self._service.greeting(), media_type=kind)
            # Whoever does not say how much it is sends too much.
            if int(request.headers.get("content-length", MOST_BYTES + 1)) > MOST_BYTES:
                return PlainTextResponse(f"{MOST_BYTES} bytes at most", 413)
            try:
                segments = segments_of(await request.body())
            except ModelError as error:
                return PlainTextResponse(str(error), 400)
            read = await asyncio.gather(*(self.read_one(each) for each in segments))
            if (
                fault := next((each for each in read if isinstance(each, Exception)), None)
            ) is None:
                return Response(self._service.answer(read), media_type=kind)
            # Who asks has a model of his own: he is told, and the replica stays if it can read.
            self._is_doubtful = True
            return PlainTextResponse(describe(fault), 500)

        async def check_health(self) -> None:
            """Raise where the model cannot read any more; Ray then makes another replica."""
            if self._is_doubtful:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._device, self._service.try_out)
                self._is_doubtful = False

        @serve.batch(max_batch_size=options.max_batch, batch_wait_timeout_s=options.wait_ms / 1000)
        async def read_one(
            self, segments: list[Segment]
        ) -> list[tuple[Prediction, float] | Exception]:
            """Read clips of whoever asks; called with one, Ray makes batches of them."""
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._device, self._service.read_each, segments)

    deployment = serve.deployment(
        EmotionReader,
        num_replicas=options.replicas,
        ray_actor_options={"num_cpus": options.cpus, "num_gpus": options.gpus},
        max_ongoing_requests=max(16, options.max_batch),
        max_queued_requests=options.max_waiting,
    )
    bound: Application = deployment.bind()
    return bound


def _load(options: DeployOptions) -> ReadingService:
    from streamser.emotion.choose import choose_model

    settings = EmotionSettings(
        model=options.model,
        device=options.device,
        precision=options.precision,
        threads=options.threads,
    )
    return ReadingService(choose_model(settings))
