"""A trained checkpoint at work in the runtime: one setting, the same events."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamser import Analyzer
from streamser.audio.clip import Clip
from streamser.audio.source import Frames
from streamser.emotion.fused.model import load_fused
from streamser.errors import ModelError
from streamser.events import EmotionBody, EmotionCompleted, EmotionDelta, Event
from streamser.pipeline.engine import Engine
from streamser.pipeline.requests import EmotionRequest, Fault, Observed
from streamser.settings import AsrSettings, EmotionSettings, Settings
from streamser.taxonomy import CATEGORIES
from tests.emotion.fused.checkpoints import tiny_checkpoint
from tests.pipeline.doubles import SpellingTranscriber
from tests.pipeline.test_analyzer import DEMO, ListSource, plain


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a random checkpoint."""
    return tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def demo() -> Frames:
    """Read 12 seconds of the bundled recording."""
    frames: Frames = soundfile.read(DEMO, frames=12 * 16_000, dtype="float32", always_2d=True)[0]
    return frames


@pytest.fixture
def analyzer(where: Path) -> Iterator[Analyzer]:
    """Analyse by the voice alone."""
    settings = Settings(
        asr=AsrSettings(engine="none"), emotion=EmotionSettings(model=str(where), device="cpu")
    )
    with Analyzer(settings) as made:
        yield made


def bodies(events: list[Event]) -> list[EmotionBody]:
    """Return the judgements among events, deltas included."""
    return [e.emotion for e in events if isinstance(e, EmotionCompleted | EmotionDelta)]


def test_events_of_a_trained_model_say_all_that_events_say(
    analyzer: Analyzer, demo: Frames
) -> None:
    """Both kinds of emotion, what they rest on, and the model's name."""
    assert analyzer.models().emotion == "tiny"
    found = bodies(list(analyzer.stream(ListSource([demo]))))
    assert len(found) >= 4
    for emotion in found:
        assert emotion.model == "tiny"
        assert emotion.modalities == ("audio",)
        assert tuple(emotion.scores) == CATEGORIES
        assert sum(emotion.scores.values()) == pytest.approx(1, abs=1e-3)
        assert emotion.dimensions.valence is not None
        assert emotion.dimensions.arousal is not None
        assert emotion.dimensions.dominance is None
        assert emotion.evidence["temperature"] == 2.0
    assert len({emotion.confidence for emotion in found}) > len(found) // 2


def test_words_that_are_understood_are_read_with_the_voice(
    where: Path, demo: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the calibration of both together."""
    monkeypatch.setattr(
        "streamser.speech.choose.choose_transcriber", lambda *_, **__: SpellingTranscriber()
    )
    settings = Settings(emotion=EmotionSettings(model=str(where), device="cpu"))
    with Analyzer(settings) as analyzer:
        found = bodies(list(analyzer.stream(ListSource([demo]))))
    both = [emotion for emotion in found if emotion.modalities == ("audio", "text")]
    assert len(both) >= 4
    assert {emotion.evidence["temperature"] for emotion in both} == {0.5}


def test_the_same_sound_gives_the_same_events_however_it_comes(
    analyzer: Analyzer, demo: Frames
) -> None:
    """In other pieces, or beside another stream whose clips share its batches."""
    alone = plain(list(analyzer.stream(ListSource([demo]))))
    pieces = plain(list(analyzer.stream(ListSource(list(np.split(demo, [1, 700, 50_001]))))))
    assert pieces == alone
    other = demo[::-1] * np.float32(0.3)
    with ThreadPoolExecutor() as pool:
        first, _ = pool.map(
            lambda sound: plain(list(analyzer.stream(ListSource([sound])))), (demo, other)
        )
    assert first == alone


def test_one_answer_that_is_no_number_fails_alone(where: Path, demo: Frames) -> None:
    """Its neighbours in the batch are answered."""
    engine = Engine(None, load_fused(str(where), device="cpu"))
    sound = np.ascontiguousarray(demo[:16_000, 0])
    broken = np.full(16_000, np.nan, np.float32)
    requests = [
        EmotionRequest(number, Clip("a", number, 0, samples, final=True), 16_000, droppable=False)
        for number, samples in enumerate((sound, broken, sound))
    ]
    good, bad, other = engine.run(requests)
    assert isinstance(good, Observed)
    assert isinstance(other, Observed)
    assert isinstance(bad, Fault)
    assert bad.code == "model_unavailable"


def test_a_checkpoint_that_cannot_be_loaded_is_told_before_the_first_event(tmp_path: Path) -> None:
    """By its path, and without a session having begun."""
    (tmp_path / "empty").mkdir()
    settings = Settings(
        asr=AsrSettings(engine="none"), emotion=EmotionSettings(model=str(tmp_path / "empty"))
    )
    with Analyzer(settings) as analyzer, pytest.raises(ModelError, match=r"empty.*lacks config"):
        next(iter(analyzer.stream(DEMO)))
