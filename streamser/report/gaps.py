"""What is missing of a recording, in lines for people; pure."""

from __future__ import annotations

from collections.abc import Iterator

from streamser.export.records import Recording, SessionRecord

__all__ = ["gaps_of"]


def gaps_of(recording: Recording) -> tuple[str, ...]:
    """Say what could not be read, was lost, failed, or ended early; one line each."""
    several = len(recording.sessions) > 1
    lines = list(recording.notes)
    for session in recording.sessions:
        name = (session.info.speaker if session.info else None) or session.session_id
        prefix = f"{name}: " if several else ""
        lines += [f"{prefix}{line}" for line in _of_session(session)]
    return tuple(lines)


def _of_session(session: SessionRecord) -> Iterator[str]:
    if session.closed is None:
        yield "the events end before the session did."
    if session.missing:
        yield f"{_counted(session.missing, 'event')} missing from the recording."
    losses = {each.kind: each.total for each in session.losses}
    if "audio" in losses:
        lost = losses["audio"]
        much = f"{lost / 1000:.1f} s of sound" if lost else "some sound"
        yield f"{much} was lost and replaced by silence."
    if losses.get("partials"):
        yield f"{_counted(losses['partials'], 'reading')} left out to keep pace."
    if losses.get("deltas"):
        yield f"{_counted(losses['deltas'], 'event')} not sent to a slow listener."
    failed = sum(each.problem is not None for each in session.utterances)
    if failed:
        yield f"{_counted(failed, 'utterance')} without a result."
    yield from dict.fromkeys(" ".join(each.message.split()) for each in session.errors)


def _counted(number: int, noun: str) -> str:
    return f"1 {noun} is" if number == 1 else f"{number} {noun}s are"
