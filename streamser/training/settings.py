"""Typed settings of a training, and loading them: a preset or TOML file, then single keys."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from streamser.emotion.fused.config import FusedConfig
from streamser.emotion.hub_models.registry import named
from streamser.errors import ConfigError
from streamser.settings_loader import (
    Key,
    convert,
    find_file,
    flatten,
    keys_of,
    look_up,
    plant,
    preset_path,
    read_toml,
    refuse_unknown,
)


class TrainSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of settings."""


class DataSettings(TrainSection, frozen=True):
    """What is learnt from."""

    manifest: Annotated[str, Meta(description="Manifest of `streamser corpus`; a CSV file.")] = ""
    text: Annotated[
        Literal["gold", "asr", "mixed"],
        Meta(description="Which words train: transcripts, a recogniser's, or each half the time."),
    ] = "gold"
    labels: Annotated[
        Literal["hard", "soft"], Meta(description="The likeliest category, or the raters' shares.")
    ] = "hard"
    min_seconds: Annotated[float, Meta(ge=0, description="Shorter clips are left out.")] = 0.1
    strict: Annotated[
        bool, Meta(description="Stop at a clip that cannot be read; else skip and count.")
    ] = False


class LossSettings(TrainSection, frozen=True):
    """How an answer is judged: a weighted sum of cross-entropy and 1 - CCC of each dimension.

    The weights are the paper's h_i (arXiv 2401.00536 §3), which sum to 1; they are brought to
    that sum over the tasks that a model has.
    """

    category: Annotated[float, Meta(ge=0, description="Weight of the cross-entropy.")] = 1.0
    valence: Annotated[float, Meta(ge=0, description="Weight of its 1 - CCC.")] = 1.0
    arousal: Annotated[float, Meta(ge=0, description="Weight of its 1 - CCC.")] = 1.0
    dominance: Annotated[float, Meta(ge=0, description="Weight of its 1 - CCC.")] = 1.0
    class_weights: Annotated[
        Literal["none", "balanced"], Meta(description="balanced: rare categories count more.")
    ] = "none"
    label_smoothing: Annotated[float, Meta(ge=0, lt=1)] = 0.0


class MaskingSettings(TrainSection, frozen=True):
    """Which modality is hidden while training, and how often."""

    mode: Annotated[
        Literal["none", "epoch", "item"],
        Meta(
            description="epoch: the paper's Random Modality Masking; "
            "item: each item may lose one modality, which suits streams."
        ),
    ] = "none"
    probability: Annotated[float, Meta(ge=0, le=1, description="Where it begins.")] = 0.8
    text_share: Annotated[
        float, Meta(ge=0, le=1, description="Share of the maskings that hide the text.")
    ] = 0.6
    cosine: Annotated[bool, Meta(description="Fall to zero along a half cosine.")] = True
    least: Annotated[float, Meta(ge=0, le=1, description="Below this it is zero.")] = 0.1


class OptimizerSettings(TrainSection, frozen=True):
    """How the weights move."""

    kind: Literal["adam", "adamw"] = "adam"
    learning_rate: Annotated[float, Meta(gt=0)] = 3e-5
    head_learning_rate: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="For all but pretrained encoders; none: the same."),
    ] = None
    weight_decay: Annotated[float, Meta(ge=0)] = 0.0
    clip: Annotated[float, Meta(gt=0, description="Largest norm of the gradient.")] = 1.0
    warmup: Annotated[float, Meta(ge=0, lt=1, description="Share of all steps.")] = 0.0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    batch: Annotated[int, Meta(ge=1, description="Utterances in a step.")] = 16
    accumulate: Annotated[
        int, Meta(ge=1, description="Parts that a batch is computed in, to save memory.")
    ] = 1
    epochs: Annotated[int, Meta(ge=1)] = 20
    patience: Annotated[
        int, Meta(ge=0, description="Epochs without a better validation; 0: never stop early.")
    ] = 0


class AugmentSettings(TrainSection, frozen=True):
    """How sound and words are varied while training; each probability is for one clip or text."""

    speed: Annotated[
        float, Meta(ge=0, le=0.5, description="Up to this share slower or faster.")
    ] = 0.0
    gain_db: Annotated[float, Meta(ge=0, le=40, description="Up to so much louder or quieter.")] = (
        0.0
    )
    noise: Annotated[float, Meta(ge=0, le=1, description="Probability of noise.")] = 0.0
    noise_folder: Annotated[
        str, Meta(description="WAV and FLAC noises; empty: white, pink and brown.")
    ] = ""
    snr_db: Annotated[
        tuple[float, float], Meta(description="Signal to noise ratio, lowest and highest.")
    ] = (5.0, 30.0)
    room: Annotated[float, Meta(ge=0, le=1, description="Probability of a room response.")] = 0.0
    room_folder: Annotated[str, Meta(description="Room responses; empty: synthetic ones.")] = ""
    band: Annotated[float, Meta(ge=0, le=1, description="Probability of a random equaliser.")] = 0.0
    telephone: Annotated[float, Meta(ge=0, le=1, description="Probability of 300-3400 Hz.")] = 0.0
    spec_time: Annotated[float, Meta(ge=0, le=0.5, description="Share of time masked.")] = 0.0
    spec_bands: Annotated[float, Meta(ge=0, le=0.5, description="Share of bands masked.")] = 0.0
    word_drop: Annotated[float, Meta(ge=0, lt=1, description="Share of words left out.")] = 0.0
    word_swap: Annotated[
        float, Meta(ge=0, lt=1, description="Share of words replaced by others that occur.")
    ] = 0.0
    plain_text: Annotated[
        float, Meta(ge=0, le=1, description="Probability of lower case without punctuation.")
    ] = 0.0


class RunSettings(TrainSection, frozen=True):
    """Where and how a training runs."""

    seed: Annotated[int, Meta(ge=0, description="Another seed, another training.")] = 0
    device: Annotated[Literal["auto", "cpu", "cuda"], Meta(description="auto: cuda if there.")] = (
        "auto"
    )
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Meta(description="auto: bfloat16 autocast on cuda, float32 on the CPU."),
    ] = "auto"
    compile: Annotated[bool, Meta(description="torch.compile the model.")] = False
    threads: Annotated[int, Meta(ge=0, le=1024, description="CPU threads; 0: as torch likes.")] = 0
    select: Annotated[
        Literal["loss", "uar", "ccc", "score"],
        Meta(description="What the best epoch is chosen by; score: mean of UAR and CCCs."),
    ] = "score"
    bucket: Annotated[
        int, Meta(ge=1, description="Batches that are sorted by length together.")
    ] = 16


class TrainSettings(TrainSection, frozen=True):
    """Every setting of a training."""

    model: FusedConfig
    data: DataSettings = DataSettings()
    loss: LossSettings = LossSettings()
    masking: MaskingSettings = MaskingSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    augment: AugmentSettings = AugmentSettings()
    run: RunSettings = RunSettings()


_BRANCHES = {"audio": "acoustic", "text": "text"}
_LISTED = "the presets in configs/train show them."


def load_train_settings(config: str, assignments: Sequence[str] = ()) -> TrainSettings:
    """Load a preset of ``configs/train`` or a TOML file, then ``KEY=VALUE`` by dotted key.

    ``none`` takes away what may be missing: ``model.text=none`` makes a model of the voice
    alone. A list is written with commas (``model.heads.dimensions=valence,arousal``), an empty
    one as nothing. Another ``kind`` of encoder begins from that kind's defaults.

    Raises ``ConfigError`` for a file that is missing or not TOML, an unknown key (naming the
    nearest), or a value that does not fit.
    """
    known = keys_of(TrainSettings)
    path = find_file(config, train_preset_folder())
    origins: dict[str, str] = {}
    tree: dict[str, Any] = {}
    for key, value in flatten(read_toml(path), known).items():
        refuse_unknown(key, known, f"config {path.name}", _LISTED)
        origins[key] = f"config {path.name}"
        plant(tree, key, _lacking(known[key], value))
    pairs = [_split(assignment) for assignment in assignments]
    # Another kind throws away the settings of the one before: it must not take ours with it.
    pairs.sort(key=lambda pair: not pair[0].endswith(".kind"))
    for key, text in pairs:
        refuse_unknown(key, known, f"--set {key}", _LISTED)
        origins[key] = f"--set {key}"
        if key.endswith(".kind") and look_up(tree, key) not in (None, text):
            plant(tree, key.removesuffix(".kind"), {})
        plant(tree, key, _parsed(known[key], text))
    return convert(tree, TrainSettings, origins, known, f"config {path.name}")


def encoder_assignments(names: Sequence[str]) -> list[str]:
    """Return the assignments by which a model begins with published encoders.

    Each of ``names`` is a public model's short name, whose encoder goes to the branch that reads
    what it reads, or ``audio=NAME`` or ``text=NAME`` with a directory or a hub name. Raises
    ``ConfigError`` for a name that no public model has, and for two of one branch.
    """
    found: dict[str, str] = {}
    for name in names:
        modality, equals, encoder = name.partition("=")
        if not equals:
            (ready, *more) = named(name)
            if more:
                raise ConfigError(f"--init {name}: repeat --init for each encoder.")
            if ready.revision is not None:
                raise ConfigError(f"--init {name}: a training takes no revision; leave it out.")
            if ready.is_funasr:
                raise ConfigError(f"--init {name}: it runs in FunASR alone.")
            modality, encoder = ready.modality, ready.name
        elif modality not in _BRANCHES or not encoder:
            raise ConfigError(f"--init {name}: write it as audio=NAME or text=NAME.")
        if modality in found:
            raise ConfigError(f"--init {name}: {found[modality]} is the encoder of {modality}.")
        found[modality] = encoder
    return [
        f"model.{_BRANCHES[modality]}.{key}={value}"
        for modality, encoder in found.items()
        for key, value in (("kind", "pretrained"), ("name", encoder))
    ]


def train_preset_folder() -> Path:
    """Return the folder of the training presets that come with the program."""
    return preset_path("any").parent / "train"


def _split(assignment: str) -> tuple[str, str]:
    key, equals, value = assignment.partition("=")
    if not equals:
        raise ConfigError(f"--set {assignment}: write it as KEY=VALUE, such as optimizer.epochs=5.")
    return key.strip(), value.strip()


def _lacking(key: Key, value: Any) -> Any:
    return None if value == "none" and key.may_be_none else value


def _parsed(key: Key, text: str) -> Any:
    """Read the text of an assignment: a list, a table, or one value that msgspec converts."""
    if key.may_be_none and text in ("none", ""):
        return None
    if text[:1] in ("[", "{"):
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):  # no TOML, too long a number, too deep
            return text
    if key.is_list:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text
