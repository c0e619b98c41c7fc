"""The library's front door: sound in, events out, one set of models for any number of streams."""

from __future__ import annotations

import asyncio
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType

import msgspec

from streamser.audio.file import FileSource
from streamser.audio.source import AudioSource
from streamser.emotion.choose import check_model_name
from streamser.emotion.model import SpeakerModel
from streamser.events import Event, ModelNames
from streamser.pipeline.build import (
    Part,
    WorkerPair,
    build_engine,
    build_session,
    build_vads,
    caveats_of,
    endpointer_settings,
    name_models,
)
from streamser.pipeline.engine import Runner
from streamser.pipeline.scheduler import SYSTEM, Timing
from streamser.pipeline.speaker_state import SpeakerMemory
from streamser.pipeline.stream import StreamContext, StreamOptions, Tap, run_stream
from streamser.pipeline.worker import BatchReport, InferenceWorker, WorkerStats
from streamser.settings import Settings
from streamser.speech.speakers import Voice
from streamser.speech.vad import Vad
from streamser.text import printable


class _Asked(msgspec.Struct, frozen=True, eq=False):
    """Hold what was asked of a stream; ``live`` is ``None`` where the source says it."""

    live: bool | None
    speaker: str | None
    on_audio: Tap | None
    whole: bool
    memory: SpeakerMemory | None

    def speaker_maker(self, make: Callable[[], SpeakerModel]) -> Callable[[], SpeakerModel]:
        """Return what makes the stream's speaker model, or finds the one that is remembered."""
        if self.memory is None or self.speaker is None:
            return make
        return partial(self.memory.recall, self.speaker, make)


class Analyzer:
    """Analyse streams of sound with one set of models.

    Models are loaded at the first stream, once. Streams may run at the same time from several
    threads; one worker recognises the words of all and another reads emotion, on threads of this
    process. Use it as a context manager, or ``close`` it. ``tell`` gets single lines meant for
    people; by default they go to
    stderr. ``watch`` is told of each batch, on a worker's thread. Raises ``ConfigError`` where
    settings do not go together.

    ``build`` makes an engine of all models, other than the settings ask for, each time one has to
    be made, and ``timing`` tells workers the time.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        tell: Callable[[str], None] | None = None,
        watch: Callable[[BatchReport], None] | None = None,
        build: Callable[[], Runner] | None = None,
        timing: Timing = SYSTEM,
        enrolled: Mapping[str, Sequence[Voice]] | None = None,
    ) -> None:
        self.settings = settings if settings is not None else Settings()
        # Before any model is loaded: settings that do not go together are no fault of a file.
        endpointer_settings(self.settings.endpointing)
        if build is None:
            check_model_name(self.settings.emotion.model)
        self._tell = tell if tell is not None else _tell_stderr
        self._watch = watch
        self._build = build
        self._timing = timing
        self._enrolled = enrolled or {}
        self._lock = threading.Lock()
        self._telling = threading.Lock()
        self._told: set[str] = set()
        self._built: set[Part] = set()
        self._workers: WorkerPair | None = None
        self._make_vad: Callable[[], Vad] | None = None

    def __enter__(self) -> Analyzer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def models(self) -> ModelNames:
        """Load the models if need be and name them; raises ``ModelError`` if one cannot be had."""
        make_vad, workers = self._load()
        return name_models(make_vad().name, workers.wait())

    def equipment(self) -> tuple[Callable[[], Vad], WorkerPair]:
        """Return what sessions are made with: a detector for each, and the workers.

        For those who run_stream sessions themselves; waits for no model to be loaded.
        """
        return self._load()

    def stats(self) -> WorkerStats:
        """Return what the workers have done so far."""
        return self._workers.stats if self._workers is not None else WorkerStats()

    def stream(
        self,
        source: AudioSource | str | Path,
        *,
        live: bool | None = None,
        speaker: str | None = None,
        on_audio: Tap | None = None,
        whole: bool = False,
        memory: SpeakerMemory | None = None,
    ) -> Iterator[Event]:
        """Analyse a source, or the file at a path, and yield its events as they come.

        A ``live`` stream tells every event as soon as it can, with its lag. In any other,
        events come in one order, without lag, whatever the timing. By default that depends on
        whether the source is live. ``on_audio`` gets all sound, mono at 16 kHz, before it is
        analysed. Dropping the iterator stops the source.

        A ``whole`` stream is one utterance from end to end, in which no pauses are sought; after
        each five minutes another one begins. With a ``memory`` the ``speaker`` is judged against
        what was learnt of them in streams before that had the same one. Where there is no
        ``speaker``, voices are told apart unless ``speakers.told_apart`` is off.

        A live source is heard from the first moment on: while the models are loaded, its sound
        is kept, two minutes of it at most, and analysed as soon as they are there. What is lost
        beyond is told and counted as any lost sound is.

        Raises ``AudioError`` or ``ModelError`` before the first event; a source that breaks
        off later ends in an ``error`` event, after everything heard before it was analysed.
        """
        sound = FileSource(source) if isinstance(source, str | Path) else source
        asked = _Asked(live, speaker, on_audio, whole, memory)
        return self._events(sound, asked, lambda: False)

    async def astream(
        self,
        source: AudioSource | str | Path,
        *,
        live: bool | None = None,
        speaker: str | None = None,
        on_audio: Tap | None = None,
        whole: bool = False,
        memory: SpeakerMemory | None = None,
    ) -> AsyncIterator[Event]:
        """Do what ``stream`` does for ``async for``, without blocking the event loop.

        ``on_audio`` is called on another thread, which each stream has of its own.
        """
        asked = _Asked(live, speaker, on_audio, whole, memory)
        loop = asyncio.get_running_loop()
        sound: AudioSource
        if isinstance(source, str | Path):
            sound = await asyncio.to_thread(FileSource, source)
        else:
            sound = source
        inbox: asyncio.Queue[Event | BaseException | None] = asyncio.Queue(maxsize=64)
        gone = threading.Event()
        ended: asyncio.Future[None] = loop.create_future()

        def put(item: Event | BaseException | None) -> None:
            # Waiting for room here lets a slow consumer slow the source, not fill the memory.
            asyncio.run_coroutine_threadsafe(inbox.put(item), loop).result()

        def run() -> None:
            try:
                for event in self._events(sound, asked, gone.is_set):
                    if gone.is_set():
                        return
                    put(event)
                put(None)
            except BaseException as error:
                put(error)
            finally:
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(ended.set_result, None)

        # Of its own: the loop's pool is small, and a stream may last for days.
        threading.Thread(target=run, name="streamser-astream", daemon=True).start()
        try:
            while (item := await inbox.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            gone.set()
            sound.stop()
            while not ended.done():
                while not inbox.empty():
                    inbox.get_nowait()
                await asyncio.wait([ended], timeout=0.05)

    def close(self, within_s: float | None = None) -> None:
        """Finish what waits with the workers and let the models go.

        What is not done ``within_s`` fails; without it, a batch has ``worker.deadline_s``.
        """
        with self._lock:
            workers, self._workers, self._make_vad = self._workers, None, None
        if workers is not None:
            workers.close(within_s)

    def _events(
        self,
        source: AudioSource,
        asked: _Asked,
        unwanted: Callable[[], bool],
    ) -> Iterator[Event]:
        live = source.live if asked.live is None else asked.live
        options = StreamOptions(
            live=live,
            channel=self.settings.audio.channel,
            tell=self._tell,
            on_audio=asked.on_audio,
            unwanted=unwanted,
        )
        yield from run_stream(source, partial(self._prepare, source, live, asked), options)

    def _prepare(self, source: AudioSource, live: bool, asked: _Asked) -> StreamContext:
        make_vad, workers = self._load()
        session_id = f"sess_{uuid.uuid4().hex[:12]}"
        session = build_session(
            self.settings,
            session_id,
            make_vad(),
            workers.wait(),
            asked.speaker_maker(workers.new_speaker),
            ordered=not live,
            patient=not source.live,
            source=_name(source),
            speaker=asked.speaker,
            whole=asked.whole,
        )
        session.speakers.enroll(self._enrolled)
        return StreamContext(
            session_id=session_id,
            session=session,
            workers=workers,
            ahead=2 * self.settings.worker.max_batch,
        )

    def _load(self) -> tuple[Callable[[], Vad], WorkerPair]:
        with self._lock:
            if self._workers is None or self._make_vad is None or self._workers.has_failed:
                if self._workers is not None:
                    self._workers.close()
                else:
                    for caveat in caveats_of(self.settings):
                        self._tell(caveat)
                self._make_vad = build_vads(self.settings)
                self._workers = self._hire()
            return self._make_vad, self._workers

    def _hire(self) -> WorkerPair:
        def worker(build: Callable[[], Runner]) -> InferenceWorker:
            return InferenceWorker(build, self.settings.worker, self._watch, self._timing)

        if self._build is not None:
            return WorkerPair(worker(self._build), None)
        transcribes = self.settings.asr.engine != "none"
        words = worker(partial(self._build_part, "words")) if transcribes else None
        return WorkerPair(worker(partial(self._build_part, "emotion")), words)

    def _build_part(self, part: Part) -> Runner:
        engine = build_engine(self.settings, self._tell_once, part, before=part in self._built)
        self._built.add(part)
        return engine

    def _tell_once(self, line: str) -> None:
        """Tell what loading has to say: others load the same, and so do those who come after."""
        with self._telling:
            if line in self._told:
                return
            self._told.add(line)
        self._tell(line)


def _name(source: AudioSource) -> str:
    name = str(source.path) if isinstance(source, FileSource) else source.name
    # A file name may hold bytes that are no text in any encoding, and JSON may not.
    return name.encode("utf-8", "replace").decode()


def _tell_stderr(line: str) -> None:
    print(f"streamser: {printable(line)}", file=sys.stderr)
