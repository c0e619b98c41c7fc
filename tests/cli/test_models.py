"""`streamser models`, and public models on the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from streamser.emotion.hub_models import registry
from streamser.emotion.hub_models.registry import HUB_MODELS
from streamser.events import EmotionCompleted, SessionCreated
from streamser.export.tables import TEMPO
from streamser.training.manifest import Item, write_manifest
from tests.cli.running import events_of, refuses, run
from tests.cli.sounds import spoken, write
from tests.emotion.hub_models.layouts import lay_down, snapshot_of
from tests.scripted_whisper import build_scripted_whisper
from tools.protocol_doc.codes import READY_EVIDENCE
from tools.protocol_doc.document import protocol_document

BOTH = "audeering-msp-dim+superb-hubert-base"
NAMES = ("audeering-msp-dim", "superb-hubert-base", "hartmann-distilroberta")


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a hub's cache with some of the models in it."""
    cache = tmp_path_factory.mktemp("hub")
    for name in NAMES:
        lay_down(name, snapshot_of(name, cache))
    return cache


@pytest.fixture(autouse=True)
def _hub(laid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(laid))
    monkeypatch.setattr(registry, "answers", lambda url, seconds: False)


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording of an utterance or two."""
    return write(tmp_path_factory.mktemp("talk") / "talk.wav", spoken(7.0))


def finals(output: str) -> list[EmotionCompleted]:
    """Return the final judgements among JSON lines."""
    return [event for event in events_of(output) if isinstance(event, EmotionCompleted)]


def test_the_list_says_what_each_is_for_and_whether_it_is_here() -> None:
    """Name, what it reads and gives, licence, size."""
    result = run("models", "--json")
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert list(rows) == list(HUB_MODELS)
    assert {name for name, row in rows.items() if row["cached"] == "yes"} == set(NAMES)
    assert rows["audeering-msp-dim"]["non_commercial"] is True
    assert rows["audeering-msp-dim"]["dimensions"] == ["arousal", "dominance", "valence"]
    assert rows["hartmann-distilroberta"]["modality"] == "text"
    table = run("models").stdout
    assert all(name in table for name in HUB_MODELS)
    assert "non-commercial" in table


def test_analyze_reads_emotion_with_public_models(talk: Path) -> None:
    """By one flag; the licence of one is told, once, and the events go to stdout alone."""
    result = run("analyze", talk, talk, "--asr", "none", "--format", "jsonl", "--model", BOTH)
    assert result.exit_code == 0, result.stderr
    created = events_of(result.stdout)[0]
    assert isinstance(created, SessionCreated)
    assert created.session.models.emotion == BOTH
    found = finals(result.stdout)
    assert len(found) == 4
    for event in found:
        assert event.emotion.modalities == ("audio",)
        assert sum(event.emotion.scores.values()) == pytest.approx(1, abs=1e-3)
        assert isinstance(event.emotion.dimensions.dominance, float)
        assert set(event.emotion.evidence) == {"audio_weight", "outside", *TEMPO}
    assert result.stderr.count("not for commercial use") == 1
    assert found[0].emotion == found[2].emotion


def test_listen_reads_emotion_with_public_models(tmp_path: Path) -> None:
    """While the sound is played, deltas included, words too where there are any."""
    short = write(tmp_path / "short.wav", spoken(2.5))
    whisper = build_scripted_whisper(tmp_path / "scripted", "we have wonderful news")
    model = f"{BOTH}+hartmann-distilroberta"
    words = ("--asr", "whisper", "--asr-model", whisper)
    result = run("listen", "--file", short, "--json", "--model", model, *words)
    assert result.exit_code == 0, result.stderr
    judged = [event for event in events_of(result.stdout) if hasattr(event, "emotion")]
    assert len(judged) > len(finals(result.stdout)) >= 1
    assert {event.emotion.model for event in judged} == {model}
    assert ("audio", "text") in {event.emotion.modalities for event in judged}


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (["superb-hubert-large", "--offline"], 1, ("superb--hubert-large-superb-er is missing",)),
        (["superb-hubert-large"], 1, ("superb-hubert-large cannot be downloaded", "connection")),
        (["superb-hubert-larg"], 2, ("did you mean superb-hubert-large",)),
        (["superb-hubert-base+hartman"], 2, ("did you mean hartmann-distilroberta",)),
        (["hartmann-distilroberta"], 2, ("reads words alone", "asr.engine")),
    ],
)
def test_a_model_that_cannot_be_had_costs_one_line(
    talk: Path, arguments: list[str], code: int, parts: tuple[str, ...]
) -> None:
    """Beside what its licence says."""
    result = run("analyze", talk, "--asr", "none", "--model", *arguments)
    assert result.exit_code == code
    lines = result.stderr.splitlines()
    # That it is being loaded is no fault either.
    (fault,) = (line for line in lines if "licence" not in line and "loading" not in line)
    assert all(part in fault for part in parts), fault
    assert result.stdout == ""


def test_a_model_that_was_half_downloaded_costs_one_line(
    talk: Path, laid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a file is missing or cut short."""
    cache = Path(shutil.copytree(laid, tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    asked = ("analyze", talk, "--asr", "none", "--offline", "--model", "superb-hubert-base")
    weights = snapshot_of("superb-hubert-base", cache) / "pytorch_model.bin"
    weights.write_bytes(weights.read_bytes()[:5000])
    refuses(run(*asked), 1, "only a part of it was downloaded", "models pull --force superb")
    weights.unlink()
    refuses(run(*asked), 1, "only in part on this machine", str(weights.parent))


def test_pulling_offline_costs_one_line() -> None:
    """And an unknown name is told before anything is fetched."""
    refuses(run("models", "pull", "superb-hubert-large"), 1, "does not answer")
    refuses(
        run("models", "pull", "superb-hubert-large", "superb-hubert-basse"), 2, "superb-hubert-base"
    )


def test_pulling_prints_where_the_files_are(monkeypatch: pytest.MonkeyPatch, laid: Path) -> None:
    """One place a line, for scripts; of a composition all."""
    fetched = []

    def pull(ready: object, *, force: bool) -> Path:
        fetched.append((ready, force))
        return laid

    monkeypatch.setattr(registry, "pull", pull)
    result = run("models", "pull", BOTH, "superb-hubert-base", "--force")
    assert result.stdout.splitlines() == [str(laid)] * 2
    assert fetched == [(HUB_MODELS[name], True) for name in BOTH.split("+")]
    assert "commercial" in result.stderr


def test_checking_prints_figures_beside_the_published_ones(talk: Path, tmp_path: Path) -> None:
    """Accuracy and recall of what is labelled, agreement of what is rated."""
    happy, sad = (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0)
    items = [
        Item(
            id=f"{number}",
            corpus="own",
            speaker="s",
            split="test",
            audio=write(tmp_path / f"{number}.wav", spoken(1.5, start=5.0 + number)),
            votes=happy if number % 2 else sad,
            dimensions=(0.1 * number, 0.5, 0.2 * number),
        )
        for number in range(4)
    ]
    broken = Item(id="b", corpus="own", speaker="s", split="test", audio=tmp_path / "none.wav")
    table = tmp_path / "manifest.csv"
    write_manifest([*items, broken], table)
    result = run("models", "check", BOTH, table)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line[:16].strip() for line in lines[:5]] == [
        "WAR (accuracy)",
        "UAR",
        *("CCC valence", "CCC arousal", "CCC dominance"),
    ]
    assert "(4 utterances)" in lines[0]
    assert any("67" in line or "64.9" in line for line in lines[5:])
    assert "1 of 5 utterances could not be read" in result.stderr
    refuses(run("models", "check", "superb-hubert-base", table, "--split", "dev"), 2, "marks none")
    refuses(run("models", "check", "superb-hubert-base", table, "--split", "x"), 2, "choose train")


def test_checking_what_a_model_cannot_read_is_refused(tmp_path: Path) -> None:
    """Words without sound, for a model of the voice."""
    table = tmp_path / "words.csv"
    votes = (0.0, 1.0, 0.0, 0.0)
    write_manifest([Item(id="1", corpus="own", speaker="s", text="so glad", votes=votes)], table)
    refuses(run("models", "check", "superb-hubert-base", table), 2, "nothing can be measured")


def test_a_training_refuses_an_encoder_that_there_is_not(tmp_path: Path) -> None:
    """Before anything is read."""
    asked = ("train", "compact", "--manifest", tmp_path / "none.csv")
    refuses(run(*asked, "--init", "superb-hubert-larg"), 2, "did you mean superb-hubert-large")
    refuses(run(*asked, "--init", "voice=x"), 2, "audio=NAME or text=NAME")


def test_the_protocol_document_explains_the_evidence_of_public_models() -> None:
    """Every key with its unit."""
    document = protocol_document()
    for key, (unit, meaning) in READY_EVIDENCE.items():
        assert f"| `{key}` | {unit} | {meaning} |" in document
