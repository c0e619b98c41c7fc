"""Our emotion path beside transformers' ``pipeline("audio-classification")`` from N threads."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch

from streamser.audio.clip import SAMPLE_RATE, Clip, Samples
from streamser.bench.architectures import KNOWN, random_model
from streamser.bench.beside.closed_loop import Pace, cut_utterances, run_batched, run_threads
from streamser.bench.beside.report import Comparison, Contender, Ratio
from streamser.bench.beside.tasks import EmotionTask
from streamser.bench.conversation import load_demo, load_recordings
from streamser.config import EmotionSettings, WorkerSettings
from streamser.emotion.choose import choose_model
from streamser.emotion.fused.checkpoint import save_checkpoint
from streamser.emotion.fused.config import FusedConfig, FusionConfig, PretrainedAcousticConfig
from streamser.emotion.fused.pretrained_encoders import PretrainedAcoustic
from streamser.runtime.engine import Engine, Runner
from streamser.runtime.jobs import EmotionJob

__all__ = ["compare_emotion", "write_pair"]

GOAL = 2.0
_CARD = "# Random weights\n\nMade to measure speed. They have learnt nothing.\n"
_LABELS = ("neutral", "happy", "sad", "angry")


def compare_emotion(task: EmotionTask, tell: Callable[[str], None]) -> Comparison:
    """Judge the same utterances with the same encoder by both, one after another."""
    sound = load_demo() if task.recordings is None else load_recordings(Path(task.recordings))
    utterances = cut_utterances(sound, task.utterances, task.seed)
    paces: dict[str, Pace] = {}
    with tempfile.TemporaryDirectory(prefix="streamser-") as folder:
        ours, theirs = Path(folder, "ours"), Path(folder, "theirs")
        write_pair(
            task.architecture or dict(KNOWN["hubert-base-ls960"]), ours, theirs, seed=task.seed
        )

        def run(name: str, work: Callable[[], Pace]) -> None:
            tell(f"pipeline: {name} …")
            paces[name] = work()
            tell(f"pipeline: {name}: {paces[name].utterances / paces[name].wall_s:.2f} a second")

        threads = "transformers pipeline, a thread a stream"
        run(threads, lambda: _pipeline(theirs, utterances, task.streams))
        alone = "transformers pipeline, one call at a time"
        run(alone, lambda: _pipeline(theirs, utterances, 1))
        exact = "ours, float32"
        run(exact, lambda: _ours(ours, "float32", utterances, task.streams))
        usual = "ours, as it comes"
        run(usual, lambda: _ours(ours, "auto", utterances, task.streams))
        halved = "ours, bfloat16"
        run(halved, lambda: _ours(ours, "bfloat16", utterances, task.streams))
    pace = {name: each.utterances / each.wall_s for name, each in paces.items()}
    return Comparison(
        part="pipeline",
        title="emotion of many streams by a pretrained encoder",
        conditions=(
            f"{task.utterances} utterances of 2 to 8 s from {sound.name}, {task.streams} streams,"
            " each with its next utterance ready when the last is answered",
            f"weights: {task.name}, random, the same in both; what is on top of the"
            " encoder differs, and is below a hundredth of the work",
            "as it comes: emotion.precision=auto",
            f"torch with its usual {torch.get_num_threads()} threads; on the processor",
        ),
        contenders=tuple(Contender(name, each.figures()) for name, each in paces.items()),
        ratios=(
            Ratio(
                name="utterances/s, ours as it comes over the pipeline from threads",
                value=round(pace[usual] / pace[threads], 3),
                goal=GOAL,
            ),
            Ratio(
                name="utterances/s, ours in float32 over the pipeline from threads",
                value=round(pace[exact] / pace[threads], 3),
            ),
            Ratio(
                name="utterances/s, ours in bfloat16 over the pipeline from threads",
                value=round(pace[halved] / pace[threads], 3),
            ),
            Ratio(
                name="utterances/s, ours as it comes over the pipeline one call at a time",
                value=round(pace[usual] / pace[alone], 3),
            ),
        ),
    )


def write_pair(architecture: dict[str, Any], ours: Path, theirs: Path, *, seed: int) -> None:
    """Write one random HuBERT twice: as our checkpoint, and as transformers' classifier."""
    from transformers import HubertConfig, HubertForSequenceClassification, Wav2Vec2FeatureExtractor

    torch.manual_seed(seed)
    acoustic = PretrainedAcousticConfig(name="random", architecture=architecture)
    config = FusedConfig(acoustic=acoustic, text=None, fusion=FusionConfig(width=256, heads=4))
    model = random_model(config)
    assert isinstance(model.acoustic, PretrainedAcoustic)
    model.config = msgspec.structs.replace(config, acoustic=model.acoustic.config)
    save_checkpoint(ours, model, calibrations={}, card=_CARD)
    labels = dict(enumerate(_LABELS))
    described = {name: value for name, value in architecture.items() if name != "model_type"}
    classifier = HubertForSequenceClassification(HubertConfig(**described, id2label=labels))
    classifier.hubert.load_state_dict(model.acoustic.model.state_dict(), strict=False)
    classifier.save_pretrained(theirs)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(theirs)


def _pipeline(model: Path, utterances: list[Samples], streams: int) -> Pace:
    from transformers import pipeline

    classify = pipeline("audio-classification", model=str(model), device="cpu")

    def answer(samples: Samples) -> object:
        return classify({"raw": samples, "sampling_rate": SAMPLE_RATE})

    answer(utterances[0])
    return run_threads(answer, utterances, streams)


def _ours(model: Path, precision: Any, utterances: list[Samples], streams: int) -> Pace:
    emotion = EmotionSettings(model=str(model), device="cpu", precision=precision)

    def build() -> Runner:
        engine = Engine(None, choose_model(emotion, offline=True))
        engine.warm()
        return engine

    def ask(number: int, clip: Clip) -> EmotionJob:
        return EmotionJob(number, clip, len(clip.samples), droppable=False)

    return run_batched(build, WorkerSettings(), utterances, streams, ask)
