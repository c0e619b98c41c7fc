"""Choosing a recogniser: what was asked for, or the best that this machine has or can get."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from streamser.config import ASR_ENGINES, AsrSettings
from streamser.errors import ModelError
from streamser.plugins import TRANSCRIBERS, check_made, make
from streamser.speech.sphinx import SphinxTranscriber
from streamser.speech.transcriber import Transcriber
from streamser.speech.whisper import WhisperOptions, WhisperTranscriber
from streamser.speech.whisper_files import WHISPER_SIZES, existing_directory, find_whisper, hub_name

__all__ = ["AsrFound", "asr_inventory", "choose_transcriber"]

_SECOND_CHOICES = ("small", "base", "tiny", "large-v3-turbo", "turbo", "medium")
"""Cached models that stand in for the one asked for: first what one CPU core or two can carry,
the largest of them first."""

_LISTED = ("tiny", "base", "small", "medium", "large-v3-turbo")


class AsrFound(msgspec.Struct, frozen=True):
    """Report a recogniser: whether it is on this machine, where, or else how to get it."""

    name: str
    found: bool
    where: str = ""
    how_to_get: str = ""


def choose_transcriber(
    settings: AsrSettings, tell: Callable[[str], None], *, offline: bool = False
) -> Transcriber | None:
    """Load the recogniser that the settings ask for; ``None`` where there is to be no text.

    ``"auto"`` takes, in this order: a directory given as model; the model asked for, or
    another suitable size, if it is in the hub's cache; the model asked for by download, unless
    offline; pocketsphinx for English; nothing. Whatever was not asked for is told in one line
    through ``tell``. Raises ``ModelError`` for what was asked for by name and cannot be had,
    ``ConfigError`` for a name that neither the program nor a plug-in has.
    """
    if settings.engine == "none":
        return None
    if settings.engine == "pocketsphinx":
        if not _is_english(settings):
            raise ModelError(
                f"pocketsphinx knows only English, but language is {settings.language!r}:"
                " use whisper, or leave the language out"
            )
        return SphinxTranscriber()
    if settings.engine == "whisper":
        return _whisper(settings, settings.model, tell, offline)
    if settings.engine not in ASR_ENGINES:
        return _plugged(settings, offline)
    # A directory or a misspelt size was asked for by name: no stand-in for it.
    if existing_directory(settings.model) is not None or hub_name(settings.model) is None:
        return _whisper(settings, settings.model, tell, offline)
    return _best_available(settings, tell, offline)


def asr_inventory() -> list[AsrFound]:
    """List the recognisers that are here, and the usual ones that are not; imports none."""
    found = [_sphinx_found()]
    if importlib.util.find_spec("faster_whisper") is None:
        how = "pip install faster-whisper"
        return [*found, AsrFound("faster-whisper", False, how_to_get=how)]
    for size in WHISPER_SIZES:
        where = find_whisper(size)
        if where is not None:
            found.append(AsrFound(f"faster-whisper/{size}", True, str(where)))
        elif size in _LISTED:
            how = f'downloaded at the first use of asr.model = "{size}" ({WHISPER_SIZES[size]})'
            found.append(AsrFound(f"faster-whisper/{size}", False, how_to_get=how))
    return found


def _best_available(
    settings: AsrSettings, tell: Callable[[str], None], offline: bool
) -> Transcriber | None:
    tried = set()
    for name in _candidates(settings):
        location = find_whisper(name)
        if location is None or location in tried:
            continue
        tried.add(location)
        if name != settings.model:
            tell(f"Whisper {settings.model!r} is not on this machine; using {name!r}, which is.")
        try:
            return _whisper(settings, name, tell, offline)
        except ModelError as error:
            tell(f"{error}.")
    why = (
        f"for better text let Whisper {settings.model!r} be downloaded once (without --offline),"
        " or set asr.model to the directory of one"
    )
    if not offline and find_whisper(settings.model) is None:
        try:
            return _whisper(settings, settings.model, tell, offline)
        except ModelError as error:
            why = str(error)
    return _fallback(settings, tell, why)


def _candidates(settings: AsrSettings) -> Iterator[str]:
    yield settings.model
    for size in _SECOND_CHOICES:
        if settings.language == "en" and f"{size}.en" in WHISPER_SIZES:
            yield f"{size}.en"
        yield size


def _fallback(settings: AsrSettings, tell: Callable[[str], None], why: str) -> Transcriber | None:
    """Take what is embedded, and say in one line why, or how to get better."""
    if not _is_english(settings):
        tell(f"No text: no recogniser for language {settings.language!r} is here; {why}.")
        return None
    try:
        transcriber = SphinxTranscriber()
    except ModelError as error:
        tell(f"No text: {error}; {why}.")
        return None
    tell(f"Recognising with pocketsphinx (English only, many errors); {why}.")
    return transcriber


def _whisper(
    settings: AsrSettings, model: str, tell: Callable[[str], None], offline: bool
) -> WhisperTranscriber:
    whisper = WhisperOptions(
        model=model,
        language=settings.language,
        device=settings.device,
        compute_type=settings.compute_type,
        beam_size=settings.beam_size,
        word_times=settings.word_times,
        threads=settings.threads,
        offline=offline,
    )
    try:
        return WhisperTranscriber(whisper)
    except ModelError as error:
        if error.code != "cuda_unavailable" or settings.device != "auto":
            raise
        tell(f"{error}. Going on with the CPU.")
        return WhisperTranscriber(msgspec.structs.replace(whisper, device="cpu"))


def _plugged(settings: AsrSettings, offline: bool) -> Transcriber:
    name = settings.engine
    transcriber: Transcriber = make(TRANSCRIBERS, name, settings, offline=offline)
    wanted = {"name": str, "batches": bool, "transcribe": None, "forget": None}
    check_made(TRANSCRIBERS, name, transcriber, wanted)
    return transcriber


def _is_english(settings: AsrSettings) -> bool:
    return settings.language is None or settings.language.partition("-")[0].lower() == "en"


def _sphinx_found() -> AsrFound:
    spec = importlib.util.find_spec("pocketsphinx")
    if spec is None or spec.origin is None:
        how = "pip install pocketsphinx (Python before 3.14)"
        return AsrFound(SphinxTranscriber.name, False, how_to_get=how)
    return AsrFound(SphinxTranscriber.name, True, str(Path(spec.origin).parent / "model" / "en-us"))
