"""Choosing a recogniser: what was asked for, or the best that this machine has or can get."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator

import msgspec

from streamser.errors import ModelError
from streamser.hub import revision_of, split_revision
from streamser.plugins import TRANSCRIBERS, check_made, make
from streamser.settings import ASR_ENGINES, AsrSettings
from streamser.speech.transcriber import Transcriber, base_language
from streamser.speech.whisper import WhisperOptions, WhisperTranscriber
from streamser.speech.whisper_files import (
    PACKAGED_SIZE,
    WHISPER_SIZES,
    WORDS_EXTRA,
    check_weights_package,
    existing_directory,
    find_cached,
    find_whisper,
    hub_name,
    short_name,
    weights_package,
)

_SECOND_CHOICES = ("small", "base", "tiny", "large-v3-turbo", "turbo", "medium")
"""Cached models that stand in for the one asked for: first what one CPU core or two can carry,
the largest of them first."""

_MULTILINGUAL = "base"
"""What is asked for where the language is none that the model asked for knows."""

_LISTED = ("tiny.en", "tiny", "base", "small", "medium", "large-v3-turbo")


class AsrFound(msgspec.Struct, frozen=True):
    """Report a recogniser: whether it is on this machine, where, or else how to get it.

    ``fault`` says in one line what is wrong with one that is here.
    """

    name: str
    found: bool
    where: str = ""
    how_to_get: str = ""
    fault: str = ""


def choose_transcriber(
    settings: AsrSettings, tell: Callable[[str], None], *, offline: bool = False
) -> Transcriber | None:
    """Load the recogniser that the settings ask for; ``None`` where there is to be no text.

    ``"auto"`` takes, in this order: a directory given as model; the package of weights, where
    its model is asked for and the language is English or not set; the model asked for, or
    another suitable size, from the hub's cache; the model asked for by download, unless offline;
    nothing. For another language than English only multilingual models are looked for. Whatever
    was not asked for is told in one line through ``tell``, and that Whisper is being loaded.
    Raises ``ModelError`` for what was asked for by name and cannot be had, or is here and broken,
    ``ConfigError`` for a name that neither the program nor a plug-in has, and a language that is
    no code.
    """
    if settings.engine == "none":
        return None
    if settings.engine in ASR_ENGINES and settings.language is not None:
        # Before anything is looked for: models that are not here would be blamed.
        base_language(settings.language)
    if settings.engine == "whisper":
        return _whisper(settings, settings.model, tell, offline)
    if settings.engine not in ASR_ENGINES:
        return _plugged(settings, offline)
    # A directory, a revision or a misspelt size was asked for by name: no stand-in for it.
    if (
        _is_pinned(settings)
        or existing_directory(settings.model)
        or hub_name(settings.model) is None
    ):
        return _whisper(settings, settings.model, tell, offline)
    return _best_available(settings, tell, offline)


def asr_inventory() -> list[AsrFound]:
    """List the recognisers that are here, and the usual ones that are not; imports none."""
    if importlib.util.find_spec("faster_whisper") is None:
        return [AsrFound("faster-whisper", False, how_to_get="pip install faster-whisper")]
    found = [_package_found()]
    for size in WHISPER_SIZES:
        where = find_cached(size)
        if where is not None:
            found.append(AsrFound(f"whisper/{size}, cache", True, str(where)))
        elif size in _LISTED:
            how = f'downloaded at the first use of asr.model = "{size}" ({WHISPER_SIZES[size]})'
            found.append(AsrFound(f"whisper/{size}, cache", False, how_to_get=how))
    return found


def what_auto_takes(settings: AsrSettings, *, offline: bool) -> str:
    """Say in a few words what the engine ``auto`` would take here; asks no network."""
    if existing_directory(settings.model) is not None:
        return f"the directory {settings.model}"
    wanted = _wanted(settings)
    for name in _candidates(settings):
        if find_whisper(name) is not None:
            packaged = name == PACKAGED_SIZE and weights_package() is not None
            return f"whisper/{name}, from the {'package' if packaged else 'cache'}"
    if offline:
        return "no words"
    return f"whisper/{wanted}, downloaded at its first use; no words where that fails"


def _package_found() -> AsrFound:
    name = f"whisper/{PACKAGED_SIZE}, package"
    folder = weights_package()
    if folder is None:
        return AsrFound(name, False, how_to_get=WORDS_EXTRA)
    try:
        check_weights_package(folder)
    except ModelError as error:
        return AsrFound(name, True, str(folder), fault=str(error))
    return AsrFound(name, True, f"{folder}, the bytes that were published")


def _best_available(
    settings: AsrSettings, tell: Callable[[str], None], offline: bool
) -> Transcriber | None:
    wanted = _wanted(settings)
    tried = set()
    for name in _candidates(settings):
        location = find_whisper(name)
        if location is None or location in tried:
            continue
        tried.add(location)
        if name != settings.model:
            tell(f"{_why_not(settings)}; using {name!r}, which is here.")
        try:
            return _whisper(settings, name, tell, offline)
        except ModelError as error:
            # What was asked for is here: whoever owns it should know that it is broken.
            if name == wanted:
                raise
            tell(f"{error}.")
    try:
        transcriber = _whisper(settings, wanted, tell, offline)
    except ModelError as error:
        tell(f"No words: {error}{_how_else(settings, str(error))}.")
        return None
    if wanted != settings.model:
        tell(f"{_why_not(settings)}; using {wanted!r}.")
    return transcriber


def _wanted(settings: AsrSettings) -> str:
    """Return the model to look for: the one asked for, unless it lacks the language."""
    lacks = settings.model.endswith(".en") and not _is_english(settings)
    return _MULTILINGUAL if lacks else settings.model


def _is_pinned(settings: AsrSettings) -> bool:
    return split_revision(settings.model)[1] is not None


def _candidates(settings: AsrSettings) -> Iterator[str]:
    yield _wanted(settings)
    if _is_pinned(settings):
        return
    for size in _SECOND_CHOICES:
        if settings.language and _is_english(settings) and f"{size}.en" in WHISPER_SIZES:
            yield f"{size}.en"
        yield size


def _why_not(settings: AsrSettings) -> str:
    if _wanted(settings) != settings.model:
        return f"Whisper {settings.model!r} knows only English, not {settings.language!r}"
    return f"Whisper {settings.model!r} is not on this machine"


def _how_else(settings: AsrSettings, why: str) -> str:
    if WORDS_EXTRA in why or not _is_english(settings):
        return ""
    if weights_package() is not None:
        return f"; asr.model = {PACKAGED_SIZE!r} (English) is here"
    return f"; {WORDS_EXTRA} brings Whisper {PACKAGED_SIZE} (English)"


def _whisper(
    settings: AsrSettings, model: str, tell: Callable[[str], None], offline: bool
) -> WhisperTranscriber:
    is_for_english = split_revision(model)[0].endswith(".en") and existing_directory(model) is None
    if is_for_english and not _is_english(settings):
        # Before it is downloaded in vain.
        raise ModelError(
            f"Whisper {model!r} knows only English, but language is {settings.language!r}: choose"
            " a model whose name does not end in .en, or leave the language out"
        )
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
    location = find_whisper(model)
    if location is not None:
        # A download has a line and bars of its own.
        revision = None if split_revision(model)[1] else revision_of(location)
        of = "" if revision is None else f" at revision {revision[:12]}"
        tell(f"loading Whisper {short_name(model)}{of} …")
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
    return settings.language is None or base_language(settings.language) == "en"
