"""Plug-ins are found by name, made when asked for, and told about in one line where they fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import streamser
from streamser.emotion.choose import choose_model
from streamser.errors import ConfigError, ModelError
from streamser.pipeline.build import caveats_of
from streamser.plugins import SINKS, TRANSCRIBERS, fault_of, find_plugin, installed, make
from streamser.settings import AsrSettings, EmotionSettings, Settings
from streamser.settings_loader import load_settings
from streamser.speech.choose import choose_transcriber
from tests.cli.sounds import spoken
from tests.plugged import EXAMPLE, write_package

CODE = """
from streamser.errors import ConfigError

def refuses(*args, **options):
    raise ConfigError("it wants a key: set THEIR_KEY.")

def fails(*args, **options):
    raise ValueError("no such thing\\nsecond line")

def leaves(*args, **options):
    raise SystemExit(3)

class Bare:
    name = "bare"
    def __init__(self, *args, **options):
        pass

nothing = None
"""


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a package of plug-ins that all fail in their own way."""
    names = ("refuses", "fails", "leaves", "Bare", "nothing", "gone")
    points = {f"transcribers/{name.lower()}": f"faulty_ones:{name}" for name in names}
    points |= {f"emotion_models/{name.lower()}": f"faulty_ones:{name}" for name in names}
    points["transcribers/lost"] = "no_such_module:make"
    monkeypatch.syspath_prepend(str(write_package(tmp_path, "faulty-ones", points, CODE)))
    return tmp_path


def test_plugins_are_listed_with_their_package_and_nothing_is_imported(faulty: Path) -> None:
    """By name, in order."""
    sys.modules.pop("faulty_ones", None)
    found = installed(TRANSCRIBERS)
    assert [plugin.name for plugin in found] == [
        *("bare", "fails", "gone", "leaves", "lost", "nothing", "refuses")
    ]
    assert str(found[0]) == "the recogniser bare of faulty-ones 0.1"
    assert "faulty_ones" not in sys.modules


@pytest.mark.parametrize(
    ("name", "kind", "parts"),
    [
        ("refuses", ConfigError, ("it wants a key: set THEIR_KEY.",)),
        ("fails", ModelError, ("of faulty-ones 0.1", "ValueError: no such thing)")),
        ("leaves", ModelError, ("of faulty-ones 0.1", "SystemExit: 3")),
        ("lost", ModelError, ("cannot be imported", "no_such_module")),
        ("gone", ModelError, ("cannot be imported", "AttributeError")),
        ("nothing", ModelError, ("faulty_ones:nothing cannot be called",)),
        ("bare", ConfigError, ("Bare", "lacks the batches (bool)", "docs/plugins.md")),
        ("bar", ConfigError, ("no recogniser is called 'bar'", "did you mean bare?")),
    ],
)
def test_a_recogniser_that_cannot_be_had_costs_one_line(
    faulty: Path, name: str, kind: type[Exception], parts: tuple[str, ...]
) -> None:
    """That names the package, and what is wrong."""
    with pytest.raises(kind) as caught:
        choose_transcriber(AsrSettings(engine=name), print)
    line = str(caught.value)
    assert all(part in line for part in parts), line
    assert "\n" not in line
    assert "second line" not in line


def test_an_emotion_model_that_cannot_be_had_costs_one_line(faulty: Path) -> None:
    """Also where what it makes is no model."""
    for name, part in (("fails", "no such thing"), ("bare", "lacks the modalities (tuple)")):
        with pytest.raises(
            (ConfigError, ModelError), match=f"the emotion model {name}.*"
        ) as caught:
            choose_model(EmotionSettings(model=name))
        assert part in str(caught.value)
    with pytest.raises(ConfigError, match=r"there are rules, compact, .*refuses.*mean refuses\?"):
        choose_model(EmotionSettings(model="refusess"))


def test_a_model_of_one_method_is_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the document shows it: it judges clips alone, and a stream as well."""
    document = (EXAMPLE.parents[1] / "docs" / "plugins.md").read_text(encoding="utf-8")
    code = next(each for each in document.split("```python\n") if "class AlwaysHappy" in each)
    point = {"emotion_models/always-happy": "always_happy:AlwaysHappy"}
    write_package(tmp_path, "always-happy", point, code.partition("```")[0])
    monkeypatch.syspath_prepend(str(tmp_path))
    (told,) = streamser.load_model("always-happy").predict([np.zeros(16_000, np.float32)])
    assert (told.category, told.dimensions.valence) == ("happy", 0.6)
    voice = spoken(1.0)
    with streamser.Recognizer(model="always-happy", asr="none") as recognize:
        assert {each.label for each in recognize(voice, sampling_rate=16_000)} == {"happy"}


@pytest.mark.parametrize(
    ("does", "part"),
    [
        (
            "raise ValueError('no weights\\nsecond line')",
            "predict() failed (ValueError: no weights)",
        ),
        ("raise SystemExit(3)", "predict() failed (SystemExit: 3)"),
        ("raise MemoryError", "predict() ran out of memory"),
        ("return None", "predict() returned NoneType, not a list"),
        ("return []", "predict() returned a list of 0 for 1 clips"),
    ],
)
def test_a_model_that_cannot_judge_costs_one_line_from_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, part: str
) -> None:
    """It is named: of clips, and of a stream, where it is tried before anything is said."""
    code = (
        "class Odd:\n"
        "    name, modalities = 'odd', ('audio',)\n"
        "    def __init__(self, settings, *, offline): pass\n"
        f"    def predict(self, segments): {does}\n"
    )
    folder = write_package(tmp_path, "odd-judge", {"emotion_models/odd": "odd_judge:Odd"}, code)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "odd_judge", raising=False)
    model = streamser.load_model("odd")
    recognize = streamser.Recognizer(model="odd", asr="none")
    voice = spoken(1.0)
    asked = (lambda: model.predict([voice]), lambda: recognize(voice, sampling_rate=16_000))
    for ask in asked:
        with pytest.raises(ModelError, match=r"^odd: ") as caught:
            ask()
        assert part in str(caught.value)
        assert "second line" not in str(caught.value)


def test_what_is_wrong_is_known_without_making_anything(faulty: Path) -> None:
    """An import is enough for the doctor."""
    faults = {plugin.name: fault_of(plugin) for plugin in installed(TRANSCRIBERS)}
    assert [name for name, fault in faults.items() if fault] == ["gone", "lost", "nothing"]


def test_settings_know_the_recognisers_that_are_plugins(faulty: Path) -> None:
    """A slip of the pen is told at once, with the nearest and all that there are."""
    assert load_settings(flags={"asr.engine": "fails"}, environ={}).asr.engine == "fails"
    with pytest.raises(ConfigError) as caught:
        load_settings(flags={"asr.engine": "failss"}, environ={})
    line = str(caught.value)
    assert line.startswith(
        "flag: asr.engine: no recogniser is called 'failss'; did you mean fails?"
    )
    assert "none, whisper, bare, fails" in line


def test_two_packages_with_one_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which of them is meant nobody can know."""
    for name in ("ones", "others"):
        write_package(tmp_path, name, {"sinks/log": f"{name}:make"})
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="ones and others both bring a sink log"):
        find_plugin(SINKS, "log")
    with pytest.raises(ConfigError, match="uninstall one"):
        make(SINKS, "log", "")


def test_what_comes_with_the_program_wins_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of recognisers, and of emotion models, public ones too."""
    points = {
        "transcribers/none": "namesake:fail",
        "emotion_models/rules": "namesake:fail",
        "emotion_models/superb-hubert-base": "namesake:fail",
    }
    monkeypatch.syspath_prepend(str(write_package(tmp_path, "namesake", points)))
    settings = Settings(asr=AsrSettings(engine="none"), emotion=EmotionSettings(model="rules"))
    assert choose_transcriber(settings.asr, print) is None
    assert choose_model(settings.emotion).name == "rules"
    assert list(caveats_of(settings)) == [
        "the recogniser none of namesake 0.1 is not used: one that comes with streamser has this"
        " name.",
        "the emotion model rules of namesake 0.1 is not used: one that comes with streamser has"
        " this name.",
    ]
    public = Settings(emotion=EmotionSettings(model="superb-hubert-base"))
    assert any("superb-hubert-base of namesake" in line for line in caveats_of(public))


def test_nothing_is_looked_for_before_it_is_asked_for() -> None:
    """The help, and the import of the library, stay as fast as they were."""
    code = (
        "import sys; import streamser; from streamser.cli.main import app;"
        "from streamser import load_settings; load_settings(environ={});"
        "assert 'importlib.metadata' not in sys.modules, 'metadata'"
    )
    subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code],
        check=True,
        timeout=60,
        capture_output=True,
    )


def test_the_document_shows_the_example_that_is_tested() -> None:
    """Word for word, every file of it."""
    document = (EXAMPLE.parents[1] / "docs" / "plugins.md").read_text(encoding="utf-8")
    files = [EXAMPLE / "pyproject.toml", *(EXAMPLE / "streamser_example").glob("*.py")]
    assert len(files) == 6
    for file in files:
        if file.name != "__init__.py":
            fence = "toml" if file.suffix == ".toml" else "python"
            block = f"```{fence}\n{file.read_text(encoding='utf-8')}```"
            assert block in document, file.name
