"""Which public models there are, by short names, what is known of each, and where its files are.

Files are in the hub's cache, or on the hub. Imports nothing heavy, so that asking what there is
takes no time. Labels are those of the published ``id2label``; their order is never taken from here
but from the configuration beside the weights.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from streamser.errors import ConfigError, ModelError, first_line
from streamser.hub import (
    PICKLE,
    WEIGHTS,
    answers,
    cached_snapshot,
    hub_address,
    hub_cache,
    is_hub_forbidden,
    snapshot_place,
    split_revision,
)

Kind: TypeAlias = Literal["pooled", "superb", "odyssey", "words", "emotion2vec", "sensevoice"]
"""Which code runs a model: the layout of its files and its head."""

Held: TypeAlias = Literal["yes", "in part", "no"]


_SIDE_FILES: Final = {
    "config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
}
# FunASR's: never a .py, though the repositories hold some.
_FUNASR_ENDINGS: Final = (".pt", ".yaml", ".mvn", ".model", "configuration.json", "tokens.txt")
_FUNASR_FILES: Final = ("config.yaml", "model.pt")


class HubModel(msgspec.Struct, frozen=True, kw_only=True):
    """Describe a public model.

    ``labels`` are what it tells apart, ``()`` for a model of dimensions; ``dimensions`` those it
    rates; ``multi_label`` says that the labels are GoEmotions', each with a probability of its own.
    ``licence`` is as its card says; ``caveat`` is said at every start with it, empty where nothing
    need be. ``megabytes`` is about what a download weighs. ``figures`` are published ones, with
    their source. ``revision`` is the one of the repository that is asked for, ``None`` where any
    will do: the hub's newest, or what is in the cache.
    """

    name: str
    repository: str
    kind: Kind
    labels: tuple[str, ...] = ()
    dimensions: tuple[str, ...] = ()
    multi_label: bool = False
    licence: str
    non_commercial: bool = False
    caveat: str = ""
    megabytes: int
    figures: str
    revision: str | None = None

    @property
    def title(self) -> str:
        """Return the name, with the revision where one is asked for."""
        return self.name if self.revision is None else f"{self.name}@{self.revision}"

    @property
    def modality(self) -> str:
        """Return what it reads: ``"audio"`` or ``"text"``."""
        return "text" if self.kind == "words" else "audio"

    @property
    def is_funasr(self) -> bool:
        """Tell whether FunASR runs it, not this program."""
        return self.kind in ("emotion2vec", "sensevoice")


_SUPERB: Final = ("neu", "hap", "ang", "sad")
_MSP: Final = ("angry", "sad", "happy", "surprise", "fear", "disgust", "contempt", "neutral")
_EKMAN: Final = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
_GOEMOTIONS: Final = (
    *("admiration", "amusement", "anger", "annoyance", "approval", "caring", "confusion"),
    *("curiosity", "desire", "disappointment", "disapproval", "disgust", "embarrassment"),
    *("excitement", "fear", "gratitude", "grief", "joy", "love", "nervousness", "optimism"),
    *("pride", "realization", "relief", "remorse", "sadness", "surprise", "neutral"),
)
_EMOTION2VEC: Final = (
    *("angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "<unk>"),
)
_SENSEVOICE: Final = (
    *("HAPPY", "SAD", "ANGRY", "NEUTRAL", "FEARFUL", "DISGUSTED", "SURPRISED", "EMO_UNKNOWN"),
)
_ADV: Final = ("arousal", "dominance", "valence")
_FUNASR: Final = "FunASR's model licence; read it before any commercial use"


def _superb(name: str, repository: str, megabytes: int, accuracy: str) -> HubModel:
    return HubModel(
        name=name,
        repository=repository,
        kind="superb",
        labels=_SUPERB,
        licence="Apache-2.0",
        megabytes=megabytes,
        figures=f"IEMOCAP, 4 classes, 5 folds: accuracy {accuracy} % (arXiv 2111.02735)",
    )


_ALL: Final = (
    HubModel(
        name="audeering-msp-dim",
        repository="audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim",
        kind="pooled",
        dimensions=_ADV,
        licence="CC-BY-NC-SA-4.0",
        non_commercial=True,
        caveat="CC-BY-NC-SA-4.0, not for commercial use (audEERING sells a licence for that)",
        megabytes=660,
        figures="MSP-Podcast 1.7, test 1: CCC valence .638 (arXiv 2203.07378)",
    ),
    _superb("superb-hubert-large", "superb/hubert-large-superb-er", 1270, "67.6"),
    _superb("superb-hubert-base", "superb/hubert-base-superb-er", 380, "64.9"),
    _superb("superb-wav2vec2-base", "superb/wav2vec2-base-superb-er", 380, "63.4"),
    HubModel(
        name="odyssey-wavlm-categorical",
        repository="3loi/SER-Odyssey-Baseline-WavLM-Categorical",
        kind="odyssey",
        labels=_MSP,
        licence="MIT",
        megabytes=1280,
        figures="MSP-Podcast, balanced test 3, 8 classes: macro F1 .311, accuracy .327 (its card)",
    ),
    HubModel(
        name="odyssey-wavlm-dims",
        repository="3loi/SER-Odyssey-Baseline-WavLM-Multi-Attributes",
        kind="odyssey",
        dimensions=_ADV,
        licence="MIT",
        megabytes=1280,
        figures="MSP-Podcast, test 3: CCC .405, .577 and .577 (its card, whose columns are"
        " valence, dominance, arousal; the order looks odd)",
    ),
    HubModel(
        name="hartmann-distilroberta",
        repository="j-hartmann/emotion-english-distilroberta-base",
        kind="words",
        labels=_EKMAN,
        licence="none stated",
        caveat="its card states no licence; ask its author before any use beyond research",
        megabytes=330,
        figures="six corpora, 7 classes: accuracy .66 (its card)",
    ),
    HubModel(
        name="samlowe-goemotions",
        repository="SamLowe/roberta-base-go_emotions",
        kind="words",
        labels=_GOEMOTIONS,
        multi_label=True,
        licence="MIT",
        megabytes=500,
        figures="GoEmotions, 28 labels: micro F1 .585, accuracy .474 at a threshold of .5"
        " (its card)",
    ),
    HubModel(
        name="emotion2vec-plus",
        repository="emotion2vec/emotion2vec_plus_base",
        kind="emotion2vec",
        labels=_EMOTION2VEC,
        licence="FunASR",
        caveat=_FUNASR,
        megabytes=1100,
        figures="IEMOCAP, EmoBox's test: WA 69.6 %, UA 71.9 % (its repository)",
    ),
    HubModel(
        name="sensevoice",
        repository="FunAudioLLM/SenseVoiceSmall",
        kind="sensevoice",
        labels=_SENSEVOICE,
        licence="FunASR",
        caveat=_FUNASR,
        megabytes=940,
        figures="IEMOCAP: WA 65.7 %, UA 70.5 % (its repository)",
    ),
)
HUB_MODELS: Final = {ready.name: ready for ready in _ALL}
"""Every public model, by its short name."""

_REPOSITORIES: Final = {ready.repository: ready for ready in _ALL}


def is_hub_model(wanted: str) -> bool:
    """Tell whether a setting means public models: one, or several with ``+`` between.

    A path that exists never does.
    """
    parts = _parts(wanted)
    if len(parts) == 1:
        name, _ = split_revision(parts[0])
        return name in HUB_MODELS or name in _REPOSITORIES
    try:
        return not Path(wanted).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long; nobody's home; a NUL in it
        return True


def named(wanted: str) -> tuple[HubModel, ...]:
    """Return the public models that ``a`` or ``a+b+c`` names, by short names or hub names.

    Each may have ``@REVISION`` behind it, so that no other will do. Raises ``ConfigError`` with
    the nearest for a name that none has, and for one named twice.
    """
    found = tuple(_one(part) for part in _parts(wanted))
    if len({ready.name for ready in found}) < len(found):
        raise ConfigError(f"{wanted}: name each model once.")
    return found


def nearest_hub_model(name: str) -> str:
    """Say which names of public models are near to one that is none; empty where none is."""
    wanted = name.casefold()
    near = difflib.get_close_matches(wanted, HUB_MODELS, n=3)
    # Who knows the beginning of a long name only is near to a part of it.
    near = near or [
        each for each in HUB_MODELS if difflib.get_close_matches(wanted, each.split("-"), n=1)
    ]
    return f"did you mean {' or '.join(near)}?" if near else ""


def size_of(ready: HubModel) -> str:
    """Write how much a download weighs, about."""
    megabytes = ready.megabytes
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes} MB"


def caveats(wanted: str) -> Iterator[str]:
    """Yield a line for each model of a setting whose licence a user should know of."""
    for ready in named(wanted) if is_hub_model(wanted) else ():
        if ready.caveat:
            yield f"{ready.name}: {ready.caveat}."


def _parts(wanted: str) -> list[str]:
    return [part.strip() for part in wanted.split("+")]


def _one(name: str) -> HubModel:
    plain, revision = split_revision(name)
    ready = HUB_MODELS.get(plain) or _REPOSITORIES.get(plain)
    if ready is None:
        hint = nearest_hub_model(name) or f"there are {', '.join(HUB_MODELS)}."
        raise ConfigError(
            f"no public model is called {name!r}: {hint} `streamser models` lists them."
        )
    return ready if revision is None else msgspec.structs.replace(ready, revision=revision)


def held(ready: HubModel) -> Held:
    """Tell whether a model's files are in the hub's cache."""
    snapshot = cached_snapshot(ready.repository, ready.revision)
    if snapshot is None:
        # Bytes of another revision are no part of the one that is asked for.
        return "in part" if ready.revision is None and _begun(ready) else "no"
    return "in part" if _lacking(ready, snapshot) else "yes"


def locate(ready: HubModel, *, offline: bool) -> Path:
    """Return the directory of a model's files, downloading them where that is needed and allowed.

    ``offline`` (or the environment's ``HF_HUB_OFFLINE``) forbids it. Raises ``ModelError`` at once
    with the path that is missing, or soon where the hub cannot be reached.
    """
    snapshot = cached_snapshot(ready.repository, ready.revision)
    lacking = _lacking(ready, snapshot) if snapshot is not None else ""
    if snapshot is not None and not lacking:
        return snapshot
    if offline or is_hub_forbidden():
        missing = snapshot_place(ready.repository, ready.revision) / lacking
        how = "is only in part on this machine" if held(ready) == "in part" else "is not here"
        raise ModelError(
            f"the public model {ready.title} {how} ({missing} is missing), and downloads are"
            f" switched off: run `streamser models pull {ready.title}` once with a network."
        )
    return pull(ready)


def pull(ready: HubModel, *, force: bool = False) -> Path:
    """Download a model's files into the hub's cache, with progress on stderr.

    What is there already is kept, unless ``force``. No code is ever fetched, and a pickle only
    where there are no safetensors. Raises ``ModelError`` in one line, also where huggingface_hub
    is not installed.
    """
    try:
        from huggingface_hub import HfApi, snapshot_download
    except ImportError:
        raise ModelError(
            f"downloading {ready.name} needs huggingface_hub: run pip install 'streamser[torch]'."
        ) from None
    hub = hub_address()
    if is_hub_forbidden():
        raise ModelError(f"{ready.name} cannot be downloaded: HF_HUB_OFFLINE forbids it.")
    # The hub's own client tries for minutes before it gives up.
    if not answers(hub, seconds=3.0):
        raise ModelError(
            f"{ready.name} cannot be downloaded: {hub} does not answer; check the connection."
        )
    print(
        f"Downloading {ready.title} ({ready.repository}, about {size_of(ready)})",
        file=sys.stderr,
        flush=True,
    )
    try:
        listed = HfApi(endpoint=hub).list_repo_files(ready.repository, revision=ready.revision)
        directory = Path(
            snapshot_download(
                ready.repository,
                revision=ready.revision,
                allow_patterns=_wanted(ready, listed),
                endpoint=hub,
                cache_dir=hub_cache(),
                force_download=force,
            )
        )
    # The hub's own, its HTTP library's and the disk's errors have no common ancestor.
    except Exception as error:
        raise ModelError(
            f"{ready.title} could not be downloaded from {ready.repository}"
            f" ({first_line(error)}): check the"
            " connection and the room on the disk, and run the command again to go on."
        ) from error
    if lacking := _lacking(ready, directory):
        raise ModelError(f"{ready.repository} no longer holds {lacking}: it was changed.")
    return directory


def _wanted(ready: HubModel, listed: list[str]) -> list[str]:
    """Choose the files to fetch from those that a repository holds."""
    top = [name for name in listed if "/" not in name]
    if ready.is_funasr:
        return [name for name in top if name.endswith(_FUNASR_ENDINGS)]
    weights = WEIGHTS if WEIGHTS in top else PICKLE
    return [name for name in top if name in _SIDE_FILES or name == weights]


def _lacking(ready: HubModel, directory: Path) -> str:
    """Return the first file that a directory lacks; empty where it is complete."""
    if ready.is_funasr:
        needed: tuple[tuple[str, ...], ...] = tuple((name,) for name in _FUNASR_FILES)
    else:
        needed = (("config.json",), (WEIGHTS, PICKLE))
        if ready.modality == "text":
            needed = (*needed, ("tokenizer.json", "vocab.json"))
    for names in needed:
        # A link to what was not downloaded is no file.
        if not any((directory / name).is_file() for name in names):
            return names[0]
    return ""


def _begun(ready: HubModel) -> bool:
    blobs = hub_cache() / f"models--{ready.repository.replace('/', '--')}" / "blobs"
    return blobs.is_dir() and any(blobs.iterdir())
