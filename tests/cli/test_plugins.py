"""Plug-ins on the command line: the example of docs/plugins.md, installed as any package is."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import soundfile
from websockets.sync.client import connect

from streamser.events import EmotionCompleted, SessionCreated, TranscriptionCompleted
from streamser.export.tables import TEMPO
from tests.cli.running import DEMO, events_of, refuses, run
from tests.cli.sounds import spoken, write
from tests.cli.test_serve import serving
from tests.cli.test_train import SET
from tests.plugged import install_example, write_package
from tests.training import tiny

BOTH = ("--asr", "counter", "--model", "loudness")
ODD = """
class Breaking:
    def __init__(self, argument):
        pass

    def take(self, event):
        raise RuntimeError("no more paper")

    def close(self):
        pass


class Deaf:
    name = "deaf"
    modalities = ("audio",)

    def __init__(self, settings, *, offline):
        self.listen = lambda: None

    def extract(self, batch):
        return [0.0] * len(batch)

    def forget(self, session_id):
        pass

    def new_speaker(self):
        return self.listen


def broken(*arguments):
    raise AssertionError
"""


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder into which the example is installed."""
    return install_example(tmp_path_factory.mktemp("example"))


@pytest.fixture(autouse=True)
def _installed(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(example))


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording of an utterance or two."""
    return write(tmp_path_factory.mktemp("talk") / "talk.wav", spoken(7.0))


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a package whose plug-ins are of no good."""
    points = {
        "sinks/breaking": "odd:Breaking",
        "sinks/lost": "nowhere:Sink",
        "emotion_models/deaf": "odd:Deaf",
        "emotion_models/rules": "odd:Deaf",
        "emotion_models/lost": "nowhere:Model",
    }
    folder = write_package(tmp_path / "odd", "odd", points, ODD)
    monkeypatch.syspath_prepend(str(folder))
    return folder


def environment(*folders: Path) -> dict[str, str]:
    """Return the environment of a child in which packages of these folders are installed."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders))}


def test_analyze_with_a_recogniser_a_model_and_a_sink(talk: Path, tmp_path: Path) -> None:
    """All three of another package, each by its name; the sink hears of every file."""
    diary = tmp_path / "diary.txt"
    asked = (*BOTH, "--sink", f"diary={diary}", "--format", "jsonl", "--speakers", "off")
    result = run("analyze", talk, talk, *asked)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    events = events_of(result.stdout)
    assert isinstance(events[0], SessionCreated)
    models = events[0].session.models
    assert (models.asr, models.emotion) == ("example/counter", "loudness")
    texts = [event.transcript for event in events if isinstance(event, TranscriptionCompleted)]
    assert texts[:2] == texts[2:]
    assert all(text.startswith("about ") for text in texts)
    finals = [event.emotion for event in events if isinstance(event, EmotionCompleted)]
    assert finals[0].dimensions.arousal == 0
    assert finals[1].dimensions.arousal != 0
    assert diary.read_text().splitlines() == [
        f"{emotion.window.start_ms / 1000:.1f} s: somebody sounds {emotion.category}"
        for emotion in finals
    ]


def test_listen_tells_a_sink_as_it_goes(tmp_path: Path) -> None:
    """The same events as anybody."""
    short = write(tmp_path / "short.wav", spoken(2.5))
    diary = tmp_path / "diary.txt"
    result = run("listen", "--file", short, "--json", *BOTH, "--sink", f"diary={diary}")
    assert result.exit_code == 0, result.stderr
    events = events_of(result.stdout)
    count = sum(isinstance(event, EmotionCompleted) for event in events)
    assert len(diary.read_text().splitlines()) == count >= 1


def test_serve_runs_plugins_in_the_process_of_the_models(example: Path, tmp_path: Path) -> None:
    """Found there again by their names; the sink hears of every stream."""
    diary = tmp_path / "diary.txt"
    sound, rate = soundfile.read(DEMO, dtype="int16", frames=5 * 16_000)
    asked = ("serve", *BOTH, "--port", "0", "--sink", f"diary={diary}")
    told = []
    with serving(*asked, env=environment(example)) as (server, url):
        with connect(f"ws{url.removeprefix('http')}/v1/realtime?rate={rate}", max_size=None) as own:
            own.send(sound.tobytes())
            own.send(bytes(2 * rate))
            for message in own:
                told.append(json.loads(message))
                if told[-1]["type"] == "streamser.emotion.completed":
                    break
        server.send_signal(signal.SIGTERM)
        server.wait(60)
        assert server.returncode == 0
    final = told[-1]["emotion"]
    assert (final["model"], set(final["evidence"])) == ("loudness", {"above_usual_db", *TEMPO})
    assert any(str(event.get("transcript", "")).startswith("about ") for event in told)
    assert f"sounds {final['category']}" in diary.read_text()


def test_a_training_takes_encoders_of_others(
    example: Path, talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint names them; without their package one line says which is missing."""
    from streamser.training.manifest import write_manifest

    (tmp_path / "sounds").mkdir()
    manifest = tmp_path / "tones.csv"
    write_manifest(tiny.items(tmp_path / "sounds", train=16, dev=8), manifest)
    plugged = [
        *("model.acoustic.kind=plugin", "model.acoustic.name=small-gru"),
        *("model.acoustic.options={width = 8}", "model.text.kind=plugin"),
        *("model.text.name=letters", "model.text.options={width = 8}"),
    ]
    ours = [word for word in SET if word.startswith(("model.fusion", "optimizer", "run"))]
    words = [word for pair in (*plugged, *ours) for word in ("--set", pair)]
    out = tmp_path / "out"
    trained = run("train", "compact", "--manifest", manifest, "--out", out, *words)
    assert trained.exit_code == 0, trained.stderr
    model = json.loads((out / "model" / "config.json").read_text())["model"]
    assert model["acoustic"] == {
        "kind": "plugin",
        "name": "small-gru",
        "options": {"width": 8},
        "pretrained": False,
    }
    assert model["text"]["name"] == "letters"
    asked = ("analyze", talk, "--asr", "counter", "--format", "jsonl", "--model", out / "model")
    found = run(*asked)
    assert found.exit_code == 0, found.stderr
    final = next(each for each in events_of(found.stdout) if isinstance(each, EmotionCompleted))
    assert final.emotion.modalities == ("audio", "text")

    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(example)])
    refuses(
        run(*asked[:2], *asked[-2:], "--asr", "none"),
        1,
        "config.json",
        "no acoustic encoder is called 'small-gru'",
        "install",
    )


def test_a_sink_that_fails_takes_nothing_from_others(odd: Path, talk: Path, tmp_path: Path) -> None:
    """It is told once; files and the other sink are as without it; the exit code says so."""
    diary = tmp_path / "diary.txt"
    asked = ("analyze", talk, "--asr", "none", "--model", "rules", "--format", "csv")
    alone = run(*asked)
    beside = run(*asked, "--sink", "breaking", "--sink", f"diary={diary}")
    assert alone.exit_code == 0
    assert beside.exit_code == 1
    assert beside.stdout == alone.stdout
    told = [line for line in beside.stderr.splitlines() if "sink" in line]
    assert told == [
        "streamser: sink breaking: RuntimeError: no more paper; it gets no more events."
    ]
    assert len(diary.read_text().splitlines()) == 2


@pytest.mark.parametrize("command", ["analyze", "listen --file", "serve --port 0"])
@pytest.mark.parametrize(
    ("value", "code", "parts"),
    [
        ("dairy=x", 2, ("no sink is called 'dairy'", "did you mean diary?")),
        ("diary", 2, ("--sink diary: name its file",)),
        ("=x", 2, ("NAME or NAME=ARGUMENT",)),
        ("lost", 1, ("the sink lost of odd 0.1 cannot be imported", "nowhere")),
    ],
)
def test_a_sink_that_there_is_not_costs_one_line(
    odd: Path, talk: Path, command: str, value: str, code: int, parts: tuple[str, ...]
) -> None:
    """Before anything is analysed or served."""
    words: list[str | Path] = [*command.split(), talk]
    asked = words[:-1] if command.startswith("serve") else words
    result = run(*asked, "--sink", value)
    assert result.exit_code == code
    lines = [line for line in result.stderr.splitlines() if "error" in line]
    assert len(lines) == 1
    assert all(part in lines[0] for part in parts), lines[0]
    assert result.stdout == ""


def test_the_models_that_are_plugins_are_listed(odd: Path) -> None:
    """With their package, and what is wrong with those that cannot be used."""
    rows = {row["name"]: row for row in json.loads(run("models", "--json").stdout)[-4:]}
    assert set(rows) == {"loudness", "lost", "rules", "deaf"}
    assert rows["loudness"] == {
        "name": "loudness",
        "kind": "plugin",
        "package": "streamser-example",
        "version": "1.0",
        "fault": "",
    }
    assert "nowhere" in rows["lost"]["fault"]
    assert "comes with streamser" in rows["rules"]["fault"]
    plain = run("models")
    assert "plug-in loudness of streamser-example 1.0" in plain.stdout.splitlines()
    assert len(plain.stderr.splitlines()) == 2


def test_the_doctor_looks_at_plugins(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line each; a broken one keeps nobody from listening."""
    from streamser.cli.doctor import run_checks

    for name in (
        *("_torch", "_cuda", "_portaudio", "_vad", "_recognisers", "_emotion", "_speed"),
        *("_library", "_chosen_emotion"),
    ):
        monkeypatch.setattr(f"streamser.cli.doctor.{name}", lambda group, name: iter(()))
    found = {check.name: check for check in run_checks() if check.group == "plugins"}
    good = ("recogniser counter", "emotion model loudness", "sink diary", "text encoder letters")
    assert all(found[name].status == "works" for name in good)
    assert found["sink diary"].found == "streamser-example 1.0"
    assert found["sink lost"].status == "broken"
    assert "nowhere" in found["sink lost"].advice
    assert "not used" in found["emotion model rules"].advice
