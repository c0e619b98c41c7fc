"""The code around FunASR, with a stand-in for it: the real one is not part of the tests."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from streamser.emotion.choose import choose_model
from streamser.emotion.hub_models.registry import HUB_MODELS
from streamser.emotion.model import Prediction, Segment
from streamser.errors import ModelError
from streamser.settings import EmotionSettings
from streamser.taxonomy import UNSURE
from tests.emotion.hub_models.layouts import snapshot_of

LABELS = ["生气/angry", "厌恶/disgusted", "恐惧/fearful", "开心/happy", "中立/neutral"]
LABELS += ["其他/other", "难过/sad", "吃惊/surprised", "<unk>"]


class StandIn:
    """Answer as FunASR's ``AutoModel`` does."""

    made: dict[str, Any]
    asked: list[dict[str, Any]]
    answer: Any

    def __init__(self, **options: Any) -> None:
        StandIn.made, StandIn.asked = options, []
        print("funasr version: 1.4")
        logging.basicConfig(level=logging.INFO)
        logging.getLogger().setLevel(logging.INFO)
        if isinstance(StandIn.answer, Exception):
            raise StandIn.answer

    def generate(self, **options: Any) -> Any:
        """Remember what was asked."""
        StandIn.asked.append(options)
        return StandIn.answer


@pytest.fixture
def funasr(empty_hub: Path, monkeypatch: pytest.MonkeyPatch) -> type[StandIn]:
    """Put the stand-in where FunASR would be, and files where its models would be."""
    module: Any = ModuleType("funasr")
    module.AutoModel = StandIn
    monkeypatch.setitem(sys.modules, "funasr", module)
    for name in ("emotion2vec-plus", "sensevoice"):
        for file in ("config.yaml", "model.pt"):
            (snapshot_of(name, empty_hub) / file).touch()
    return StandIn


def read(name: str, seconds: float = 1.0) -> Prediction:
    """Return what a model says of a clip."""
    model = choose_model(EmotionSettings(model=name, device="cpu"), offline=True)
    samples = np.full(int(16_000 * seconds), 0.1, np.float32)
    (finding,) = model.extract([Segment(samples=samples, text="words")])
    return model.new_speaker().predict(finding)


def test_emotion2vecs_scores_are_read_by_their_english_names(funasr: type[StandIn]) -> None:
    """Bilingual labels, and a last one that is unknown."""
    scores = [0.4, 0.05, 0.05, 0.1, 0.2, 0.05, 0.1, 0.05, 0.0]
    funasr.answer = [{"key": "clip", "labels": LABELS, "scores": scores}]
    reading = read("emotion2vec-plus")
    assert reading.category == "angry"
    assert reading.scores["angry"] == pytest.approx(0.5)
    assert reading.evidence["outside"] == pytest.approx(0.2)
    assert reading.modalities == ("audio",)


def test_nothing_of_a_repository_is_run_and_nothing_looked_up(
    funasr: type[StandIn], empty_hub: Path
) -> None:
    """FunASR would do both if it were let."""
    funasr.answer = [{"labels": LABELS, "scores": [0.1] * 9}]
    read("emotion2vec-plus", seconds=0.1)
    assert funasr.made["model"] == str(snapshot_of("emotion2vec-plus", empty_hub))
    assert funasr.made["trust_remote_code"] is False
    assert funasr.made["disable_update"] is True
    assert len(funasr.asked[0]["input"]) == 8_000
    assert funasr.asked[0]["granularity"] == "utterance"


def test_its_chatter_reaches_nobody(
    funasr: type[StandIn], capsys: pytest.CaptureFixture[str]
) -> None:
    """Stdout is for events, and the root logger is not FunASR's."""
    funasr.answer = [{"labels": LABELS, "scores": [0.1] * 9}]
    root = logging.getLogger()
    before = (list(root.handlers), root.level, root.manager.disable)
    read("emotion2vec-plus")
    assert (list(root.handlers), root.level, root.manager.disable) == before
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("text", "category", "score"),
    [
        ("<|en|><|HAPPY|><|Speech|><|woitn|>what a day", "happy", 0.657),
        ("<|en|><|NEUTRAL|><|Speech|><|woitn|>well", "neutral", 0.657),
        ("<|en|><|FEARFUL|><|Speech|><|woitn|>no", UNSURE, 0.25),
        ("<|en|><|EMO_UNKNOWN|><|Speech|><|woitn|>so", UNSURE, 0.25),
        ("<|nospeech|><|Event_UNK|>", UNSURE, 0.25),
    ],
)
def test_sensevoices_tag_counts_as_often_as_it_is_right(
    funasr: type[StandIn], text: str, category: str, score: float
) -> None:
    """It comes without a probability."""
    funasr.answer = [{"key": "clip", "text": text}]
    reading = read("sensevoice")
    assert reading.category == category
    assert reading.confidence == pytest.approx(score)
    assert sum(reading.scores.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "answer", "reason"),
    [
        ("emotion2vec-plus", [], "cannot be read"),
        ("emotion2vec-plus", [{"text": "x"}], "cannot be read"),
        ("emotion2vec-plus", [{"labels": LABELS, "scores": [1.0]}], "cannot be read"),
        ("emotion2vec-plus", [{"labels": ["平静/serene"], "scores": [1.0]}], "'serene'; known are"),
        ("sensevoice", [{"labels": []}], "cannot be read"),
    ],
)
def test_an_answer_of_another_form_is_refused(
    funasr: type[StandIn], name: str, answer: Any, reason: str
) -> None:
    """Its versions differ."""
    funasr.answer = answer
    with pytest.raises(ModelError, match=reason):
        read(name)


def test_without_funasr_the_extra_is_named(
    funasr: type[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installed on purpose only."""
    monkeypatch.setitem(sys.modules, "funasr", None)
    with pytest.raises(ModelError, match=r"pip install 'streamser\[funasr\]'"):
        read("sensevoice")


def test_what_funasr_cannot_load_costs_one_line(funasr: type[StandIn]) -> None:
    """Whatever its parts raise."""
    funasr.answer = AssertionError("init_param does not exist\nmore")
    with pytest.raises(ModelError, match=r"cannot load.*init_param") as caught:
        read("sensevoice")
    assert "more" not in str(caught.value)


def test_both_are_known_to_be_funasrs() -> None:
    """The others run here."""
    assert {n for n, r in HUB_MODELS.items() if r.is_funasr} == {"emotion2vec-plus", "sensevoice"}
