"""Typed settings of a training: what is learnt from what, and how; one TOML file."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from streamser.emotion.neural.config import FusedConfig

__all__ = [
    "AugmentSettings",
    "DataSettings",
    "LossSettings",
    "MaskingSettings",
    "OptimizerSettings",
    "RunSettings",
    "TrainSettings",
]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of settings."""


class DataSettings(Section, frozen=True):
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


class LossSettings(Section, frozen=True):
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


class MaskingSettings(Section, frozen=True):
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


class OptimizerSettings(Section, frozen=True):
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


class AugmentSettings(Section, frozen=True):
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


class RunSettings(Section, frozen=True):
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


class TrainSettings(Section, frozen=True):
    """Every setting of a training."""

    model: FusedConfig
    data: DataSettings = DataSettings()
    loss: LossSettings = LossSettings()
    masking: MaskingSettings = MaskingSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    augment: AugmentSettings = AugmentSettings()
    run: RunSettings = RunSettings()
