"""Tools for language models: files analysed, meetings asked about, reports; without a protocol.

What they answer is compact: names, seconds, and how sure a reading is; never scores of all
categories, nor events.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from streamser import events
from streamser.audio.file import FileSource
from streamser.client.listener import Stamped, subscribe
from streamser.client.wire import page_url
from streamser.errors import ConfigError, StreamserError
from streamser.export.formats import save
from streamser.export.gather import Gatherer
from streamser.export.read import read_recording, without_folders
from streamser.pipeline.analyzer import Analyzer
from streamser.report.figures import Figures, SaidUtterance, figures_of
from streamser.settings import Settings
from streamser.text import read_name

Answer: TypeAlias = dict[str, Any]

_SHIFTED: Final = "streamser.mood.shifted"
_REACH_S: Final = 5.0
"""How long a server may take to be reached."""
_QUIET_S: Final = 0.3
"""After so long without a shift of old there is no other."""
_MOST: Final = 200
"""Utterances in an answer; a model has to read them all."""
_LONGEST_S: Final = 120.0


class AllowedFolders:
    """Know which folders may be read from; pure but for the links that it follows.

    Raises ``ConfigError`` for one that is not there.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        for folder in folders:
            if not folder.is_dir():
                raise ConfigError(f"--allow {folder}: there is no such folder.")
        self._folders = tuple(folder.resolve() for folder in folders)

    def find(self, path: str) -> Path:
        """Return a file that may be read; relative paths are of the first folder.

        Raises ``StreamserError`` for what is outside of all of them, wherever a link leads, and
        for what is no file. Of what is outside it does not say whether it is there.
        """
        try:
            found = (self._folders[0] / Path(path).expanduser()).resolve()
        except (OSError, RuntimeError, ValueError):
            found = None
        if found is None or not any(found.is_relative_to(each) for each in self._folders):
            allowed = ", ".join(map(str, self._folders))
            raise StreamserError(
                f"{path[:200]!r} is outside of what may be read ({allowed}): start streamser mcp"
                " with --allow DIR for another folder.",
                code="forbidden",
            )
        try:
            is_file = found.is_file()
        except OSError:
            # A name that is too long, or a folder whose inside may not be seen.
            is_file = False
        if not is_file:
            raise StreamserError(f"{path[:200]!r}: there is no such file.", code="file_not_found")
        return found


class MeetingServer(msgspec.Struct, frozen=True):
    """Say which server is asked about meetings; ``ca`` is a certificate to believe.

    Raises ``ServerError`` for an address that is none.
    """

    url: str
    token: str | None = None
    ca: str | None = None

    def __post_init__(self) -> None:
        # A host starts us with an address out of a file, long before a model asks.
        page_url(self.url)

    async def snapshot(self, meeting: str | None = None) -> events.Snapshot:
        """Return how a meeting, or everything, is now; raises ``ServerError``."""
        async with aclosing(self._subscribe(meeting)) as told:
            async for each in told:
                if isinstance(each.event, events.Snapshot):
                    return each.event
        raise StreamserError("the server has told nothing.", code="server_error")

    async def shifts(self, meeting: str) -> list[events.MoodShifted]:
        """Return the shifts of mood that the server still knows of a meeting, oldest first."""
        found: list[events.MoodShifted] = []
        async with aclosing(self._subscribe(meeting, types=[_SHIFTED], after=0)) as told:
            first = (await anext(told)).event
            if not isinstance(first, events.Snapshot) or first.replay_from is None:
                return found
            with suppress(TimeoutError):
                while True:
                    each = (await asyncio.wait_for(anext(told), _QUIET_S)).event
                    if isinstance(each, events.MoodShifted):
                        found.append(each)
        return found

    def _subscribe(self, meeting: str | None, **more: Any) -> AsyncGenerator[Stamped, None]:
        return subscribe(
            self.url,
            meeting=meeting,
            token=self.token,
            ca=self.ca,
            give_up_s=_REACH_S,
            **more,
        )


class Toolbox:
    """Be the tools: each answers with plain values, or raises ``StreamserError`` in a sentence.

    ``tell`` gets single lines meant for people, from any thread.
    """

    def __init__(
        self,
        settings: Settings,
        folders: AllowedFolders,
        server: MeetingServer | None,
        tell: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sleep = sleep
        self._folders = folders
        self._server = server
        self._analyzer = Analyzer(settings, tell=tell)
        # One file at a time has the machine to itself; the last one is known.
        self._lock = threading.Lock()
        self._known: tuple[tuple[Path, int, int], Figures] | None = None

    def close(self) -> None:
        """Let the models go."""
        self._analyzer.close()

    async def analyze_file(self, path: str, begin_s: float = 0.0) -> Answer:
        """Read the emotion of every utterance in a recording (sound, or a video's sound track).

        Answers with when, who (where voices are told apart), the words if they are recognised,
        the emotion and how sure it is. Of more than 200 utterances the rest is had with
        begin_s. Long recordings take minutes.
        """
        figures = await self._figures(self._folders.find(path))
        said = [each for each in figures.said if each.end_ms > begin_s * 1000]
        rest = said[_MOST:]
        return {
            **_summary(figures),
            "utterances": [_said(figures, each) for each in said[:_MOST]],
            **({"more_from_s": round(rest[0].start_ms / 1000, 1)} if rest else {}),
        }

    async def report(self, path: str, save_page: bool = False) -> Answer:
        """Sum up a recording, or a session that was kept as events (.jsonl).

        Who spoke how long and how they sounded, the moods and when they shifted. With save_page
        a page (HTML) for people is written beside the file, which opens in any browser.
        """
        found = self._folders.find(path)
        figures = await self._figures(found)
        told = _summary(figures) | {"shifts": _shifts_of(figures)}
        if save_page:
            from streamser.report.page import render_page

            page = found.with_name(f"{found.stem}.report.html")
            await asyncio.to_thread(_save, render_page(figures, []), page)
            told["page"] = str(page)
        return told

    async def list_meetings(self) -> Answer:
        """List the meetings that the server knows, with the mood of each."""
        snapshot = await self._of_server().snapshot()
        held = {each.session.meeting for each in snapshot.sessions}
        return {
            "meetings": [
                {
                    "meeting": each.meeting,
                    "going_on": each.meeting in held,
                    "minutes": round(each.at_ms / 60_000, 1),
                    "speakers": [who.speaker for who in each.speakers],
                    "mood": _mood(each.mood),
                }
                for each in snapshot.meetings
            ]
        }

    async def moods(self, meeting: str) -> Answer:
        """Say how a meeting feels now: everybody together, and each speaker."""
        return _moods((await self._look(meeting))[1])

    async def shifts(self, meeting: str, minutes: float = 10.0) -> Answer:
        """List when moods in a meeting changed in the last minutes, from what into what."""
        _, state = await self._look(meeting)
        since_ms = state.at_ms - round(_within(minutes, "minutes", 24 * 60) * 60_000)
        return {"meeting": state.meeting, "shifts": await self._shifts(state, since_ms)}

    async def recent(self, meeting: str, minutes: float = 5.0) -> Answer:
        """Tell what was said in a meeting in the last minutes, how it sounded, and the moods."""
        snapshot, state = await self._look(meeting)
        since_ms = state.at_ms - round(_within(minutes, "minutes", 24 * 60) * 60_000)
        return await self._since(snapshot, state, since_ms)

    async def follow_meeting(self, meeting: str, seconds: float = 20.0) -> Answer:
        """Listen to a meeting for some seconds (120 at most), then tell what was said and felt."""
        wait_s = _within(seconds, "seconds", _LONGEST_S)
        _, before = await self._look(meeting)
        await self._sleep(wait_s)
        snapshot, state = await self._look(meeting)
        return await self._since(snapshot, state, before.at_ms)

    # Files

    async def _figures(self, path: Path) -> Figures:
        source = None if path.suffix == ".jsonl" else FileSource(path)
        work = asyncio.ensure_future(asyncio.to_thread(self._sum_up, path, source))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # Who asked wants it no more, and its thread is one of few.
            if source is not None:
                source.stop()
            raise

    def _sum_up(self, path: Path, source: FileSource | None) -> Figures:
        stat = path.stat()
        key = (path, stat.st_mtime_ns, stat.st_size)
        with self._lock:
            if self._known is not None and self._known[0] == key:
                return self._known[1]
            if source is None:
                recording = without_folders(read_recording(path), [path])
                return figures_of(recording, title=path.stem)
            gatherer = Gatherer()
            for event in self._analyzer.stream(source):
                gatherer.collect(event)
            figures = figures_of(gatherer.recording(), title=path.name)
            self._known = (key, figures)
            return figures

    # Meetings

    def _of_server(self) -> MeetingServer:
        if self._server is None:
            raise StreamserError(
                "no server is known: start streamser mcp with --server ws://HOST:PORT.",
                code="invalid_url",
            )
        return self._server

    async def _look(self, meeting: str) -> tuple[events.Snapshot, events.MeetingState]:
        name = read_name(meeting, "meeting")
        snapshot = await self._of_server().snapshot(name)
        if not snapshot.meetings:
            raise StreamserError(
                f"the server knows no meeting {name!r}: list_meetings lists those there are.",
                code="unknown_session",
            )
        return snapshot, snapshot.meetings[0]

    async def _shifts(self, state: events.MeetingState, since_ms: int) -> list[Answer]:
        found = await self._of_server().shifts(state.meeting)
        return [
            {
                "ago_s": _ago(state, each.at_ms),
                "of": each.speaker or "everybody",
                "from": each.previous,
                "to": each.category,
            }
            for each in found
            if since_ms < each.at_ms <= state.at_ms
        ]

    async def _since(
        self, snapshot: events.Snapshot, state: events.MeetingState, since_ms: int
    ) -> Answer:
        said = [each for each in snapshot.finals if each.at_ms > since_ms]
        return {
            **_moods(state),
            "utterances": [_finished(state, each) for each in said],
            "shifts": await self._shifts(state, since_ms),
        }


def _within(value: float, what: str, most: float) -> float:
    if not 0 < value <= most:
        raise StreamserError(f"{what}: more than 0, at most {most:g}.", code="invalid_value")
    return value


def _save(page: str, path: Path) -> None:
    if path.exists() or path.is_symlink():
        # A person who types its name may replace a file; nobody sees what a model asks for.
        why = "it is there already, and only people replace files: move it away"
        raise StreamserError(f"{path}: {why}.", code="output_failed")
    try:
        save(page, path)
    except OSError as error:
        told = error.strerror or error
        raise StreamserError(f"{path}: {told}.", code="output_failed") from None


def _summary(figures: Figures) -> Answer:
    return {
        "recording": figures.title,
        "length_s": round(figures.length_ms / 1000, 1),
        "speech_s": round(figures.speech_ms / 1000, 1),
        "sounded": {each.category: round(each.share, 2) for each in figures.categories},
        "speakers": [
            _known_alone(
                speaker=talker.name,
                share=round(talker.share, 2),
                utterances=talker.utterances,
                valence=_rounded(talker.valence),
                arousal=_rounded(talker.arousal),
                mood_at_the_end=talker.line[-1].category if talker.line else None,
            )
            for talker in figures.talkers
        ],
        "models": dict(figures.engines),
        "gaps": list(figures.gaps),
    }


def _said(figures: Figures, said: SaidUtterance) -> Answer:
    return _known_alone(
        start_s=round(said.start_ms / 1000, 2),
        end_s=round(said.end_ms / 1000, 2),
        speaker=figures.talkers[said.talker].name,
        text=said.text or None,
        emotion=said.category,
        sure=round(said.confidence, 2) if said.category is not None else None,
        valence=_rounded(said.valence),
        arousal=_rounded(said.arousal),
        problem=said.problem,
    )


def _finished(state: events.MeetingState, said: events.Finished) -> Answer:
    emotion = said.emotion
    return _known_alone(
        ago_s=_ago(state, said.at_ms),
        speaker=said.speaker,
        text=said.transcript or None,
        emotion=None if emotion is None else emotion.category,
        sure=None if emotion is None else round(emotion.confidence, 2),
        valence=None if emotion is None else _rounded(emotion.dimensions.valence),
        arousal=None if emotion is None else _rounded(emotion.dimensions.arousal),
        problem=None if said.error is None else said.error.message,
    )


def _shifts_of(figures: Figures) -> list[Answer]:
    return [
        {
            "at_s": round(shift.at_ms / 1000, 1),
            "of": "everybody" if shift.everybody else shift.speaker,
            "from": shift.previous,
            "to": shift.category,
        }
        for shift in figures.shifts
    ]


def _moods(state: events.MeetingState) -> Answer:
    return {
        "meeting": state.meeting,
        "minutes": round(state.at_ms / 60_000, 1),
        "everybody": _mood(state.mood),
        "speakers": [
            {
                "speaker": who.speaker,
                "speaking": who.speaking,
                "share": round(who.share, 2),
                "utterances": who.utterances,
                "mood": _mood(who.mood),
            }
            for who in state.speakers
        ],
    }


def _mood(mood: events.MoodBody | None) -> Answer | None:
    if mood is None:
        return None
    return _known_alone(
        name=mood.category,
        sure=round(max(mood.scores.values(), default=0.0), 2),
        valence=_rounded(mood.dimensions.valence),
        arousal=_rounded(mood.dimensions.arousal),
    )


def _ago(state: events.MeetingState, at_ms: int) -> float:
    return round((state.at_ms - at_ms) / 1000, 1)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _known_alone(**values: Any) -> Answer:
    """Leave out what is not known: a model reads every word."""
    return {name: value for name, value in values.items() if value is not None}
