"""The bundled model's folder: what is in it, and how it is read.

``config.json`` says what the parts are, what they hash to and which corpora taught them,
``norm.npz`` what is usual and
along which directions emotions differ,
``layers.onnx``, ``judge.onnx`` and ``words.onnx`` hold the weights, ``tokenizer.json`` the word
pieces, ``calibration.json`` turns logits into probabilities, ``README.md`` is the model card.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.emotion.calibration import Calibration, read_calibrations
from streamser.emotion.compact.layers import GRAPH, VALUES, LayerEar, load_layers
from streamser.emotion.compact.layout import DIRECTIONS, WIDTH
from streamser.emotion.compact.running import Norm
from streamser.emotion.compact.words import TOKENIZER, WORDS, Words, load_words
from streamser.errors import ModelError
from streamser.graphs import CONFIG, check_part, fingerprint, open_graph
from streamser.taxonomy import CATEGORIES, DIMENSIONS

FORMAT: Final = "streamser.compact"
VERSION: Final = 4
JUDGE: Final = "judge.onnx"
NORM: Final = "norm.npz"
ALONG: Final = "directions"
"""What of ``norm.npz`` is no norm."""
CALIBRATION: Final = "calibration.json"
_MOST_NORM: Final = 1 << 20
PARTS: Final = (GRAPH, JUDGE, WORDS, TOKENIZER, NORM, CALIBRATION)

JUDGE_INPUTS: Final = (
    *("relative", "absolute", "context", "variety", "known"),
    *("words", "has_audio", "has_text"),
)


class Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Say what a folder holds: the format, the heads in order, and each part's SHA-256.

    ``taught`` are the corpora that it was taught or calibrated on, by their names in manifests,
    each with the speakers or splits that were kept out; empty where nobody says.
    """

    format: str
    version: int
    categories: tuple[str, ...]
    dimensions: tuple[str, ...]
    parts: dict[str, str]
    taught: dict[str, tuple[str, ...]] = {}


class _Heading(msgspec.Struct):
    format: str = ""
    version: int = 0


class Bundle(msgspec.Struct, frozen=True, eq=False):
    """Hold the parts of a bundled model, ready to run.

    Pickled, it is its place; what comes out of that in another process is all but ``layers``
    and ``words``, which only those who observe need.
    """

    directory: Path
    judge: Any
    layers: LayerEar | None
    words: Words | None
    norm: Norm
    directions: npt.NDArray[np.float32]
    calibrations: dict[str, Calibration]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the place."""
        return _for_speakers, (self.directory,)


def is_bundle(directory: Path) -> bool:
    """Tell whether a folder says of itself that it is a bundled model."""
    try:
        text = (directory / CONFIG).read_bytes()
        return msgspec.json.decode(text, type=_Heading).format == FORMAT
    except (OSError, ValueError, RecursionError):
        return False


def describe(directory: Path, taught: Mapping[str, tuple[str, ...]] | None = None) -> Description:
    """Describe the parts that lie in a folder, hashes included, and what taught them."""
    return Description(
        format=FORMAT,
        version=VERSION,
        categories=CATEGORIES,
        dimensions=DIMENSIONS,
        parts={name: fingerprint(directory / name) for name in PARTS},
        taught=dict(taught or {}),
    )


def load_bundle(directory: Path) -> Bundle:
    """Load a bundled model for one CPU thread.

    Raises ``ModelError`` where a part is missing, damaged, of another version or not the one
    that the description names: never a model that was put together by accident.
    """
    _check(directory)
    return _open(directory, load_layers(directory), load_words(directory))


@cache
def _for_speakers(directory: Path) -> Bundle:
    _check(directory)
    return _open(directory, None, None)


def _check(directory: Path) -> None:
    found = read_description(directory)
    for name in PARTS:
        check_part(directory, name, found.parts)


def _open(directory: Path, layers: LayerEar | None, words: Words | None) -> Bundle:
    norm, directions = _read_norm(directory / NORM)
    return Bundle(
        directory=directory,
        judge=open_graph(directory / JUDGE, inputs=JUDGE_INPUTS),
        layers=layers,
        words=words,
        norm=norm,
        directions=directions,
        calibrations=read_calibrations(directory / CALIBRATION),
    )


def read_description(directory: Path) -> Description:
    """Read what a folder says of itself; raises ``ModelError`` where that is no bundled model."""
    path = directory / CONFIG
    try:
        text = path.read_bytes()
        heading = msgspec.json.decode(text, type=_Heading)
        if (heading.format, heading.version) != (FORMAT, VERSION):
            raise ModelError(
                f"{path} is of {heading.format} {heading.version}, and this streamser reads"
                f" {FORMAT} {VERSION}: run pip install --upgrade streamser"
            )
        found = msgspec.json.decode(text, type=Description)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{path} does not describe a model: {error}") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None
    if (found.categories, found.dimensions) != (CATEGORIES, DIMENSIONS):
        raise ModelError(f"{path} has other categories or dimensions than this streamser")
    return found


def _read_norm(path: Path) -> tuple[Norm, npt.NDArray[np.float32]]:
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > _MOST_NORM:
                raise ModelError(f"{path} holds far more than {WIDTH} numbers of each kind")
        with np.load(path, allow_pickle=False) as arrays:
            parts = [arrays[name].astype(np.float64) for name in Norm.__struct_fields__]
            directions = arrays[ALONG].astype(np.float32)
    # Of damage numpy and zipfile raise nearly anything: TokenError, MemoryError, struct.error.
    except Exception as error:
        raise ModelError(f"{path} cannot be used: {error}") from None
    if any(part.shape != (WIDTH,) or not np.isfinite(part).all() for part in parts):
        raise ModelError(f"{path} does not hold {WIDTH} finite numbers of each kind")
    if directions.shape != (DIRECTIONS, VALUES) or not np.isfinite(directions).all():
        raise ModelError(f"{path} does not hold {DIRECTIONS} directions of {VALUES} finite numbers")
    return Norm(*parts), directions
