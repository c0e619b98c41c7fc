from __future__ import annotations

from pathlib import Path

import pytest

from streamser.errors import ConfigError
from streamser.settings import Settings
from streamser.settings_loader import explain_settings, load_settings, preset_names, preset_path


def test_without_anything_the_defaults_are_in_force() -> None:
    """And every row says that it comes from them."""
    effective = explain_settings(environ={})
    assert effective.settings == Settings()
    assert {origin for _, _, origin, _ in effective.rows()} == {"default"}


def test_every_setting_is_described() -> None:
    """A key whose meaning one has to guess is half a key."""
    for key, _, _, description in explain_settings(environ={}).rows():
        assert description, key


def test_the_later_source_wins(tmp_path: Path) -> None:
    """Default, file, environment, flag."""
    file = tmp_path / "mine.toml"
    file.write_text("[partial]\nevery_ms = 1\n[mood]\ntime_constant_s = 2\n[worker]\nmax_batch = 3")
    effective = explain_settings(
        str(file),
        environ={"STREAMSER_MOOD_TIME_CONSTANT_S": "20", "STREAMSER_WORKER_MAX_BATCH": "30"},
        flags={"worker.max_batch": 33, "asr.engine": None},
    )
    settings, origins = effective.settings, effective.origins
    assert settings.partial.every_ms == 1
    assert settings.mood.time_constant_s == 20
    assert settings.worker.max_batch == 33
    assert origins["partial.every_ms"] == "config mine.toml"
    assert origins["mood.time_constant_s"] == "environment STREAMSER_MOOD_TIME_CONSTANT_S"
    assert origins["worker.max_batch"] == "flag"
    assert origins["asr.engine"] == "default"


def test_of_several_configs_the_last_wins() -> None:
    """So that presets can be joined."""
    effective = explain_settings("embedded", "patient", "voice-only", environ={})
    assert effective.settings.asr.engine == "none"
    assert effective.settings.endpointing.silence_ms == 800
    assert effective.origins["asr.engine"] == "config voice-only.toml"


def test_the_environment_may_name_the_config() -> None:
    """Unless one is given."""
    named = {"STREAMSER_CONFIG": "voice-only"}
    assert load_settings(environ=named).asr.engine == "none"
    assert load_settings("embedded", environ=named).asr.engine == "whisper"


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_can_be_used(name: str) -> None:
    """And changes something."""
    from streamser.pipeline.build import endpointer_settings

    settings = load_settings(name, environ={})
    assert settings != Settings()
    assert endpointer_settings(settings.endpointing).silence > 0
    assert preset_path(name).is_file()


def test_how_voices_are_told_apart_can_be_said() -> None:
    """By default that is for the command to say: here, or on a server."""
    speakers = load_settings(environ={}).speakers
    assert (speakers.told_apart, speakers.embedder, speakers.most) == (None, "campplus", 10)
    named = {"STREAMSER_SPEAKERS_EMBEDDER": "voices:make", "STREAMSER_SPEAKERS_MOST": "4"}
    assert load_settings(environ=named).speakers.embedder == "voices:make"
    assert load_settings(environ=named).speakers.most == 4
    for told, expected in (("auto", "auto"), ("off", "off"), ("3", 3), ("none", None)):
        asked = {"STREAMSER_SPEAKERS_TOLD_APART": told}
        assert load_settings(environ=asked).speakers.told_apart == expected


def test_none_takes_a_setting_back() -> None:
    """Where a setting may have no value, the word for it is none."""
    asked = {"asr.language": "none", "asr.engine": "none"}
    settings = load_settings(flags={"asr.language": "en"} | asked, environ={})
    assert settings.asr.language is None
    assert settings.asr.engine == "none"


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({"asr.engin": "none"}, "flags: unknown key 'asr.engin'; did you mean 'asr.engine'?"),
        (
            {"asr.engine": "parrot"},
            "flag: asr.engine: no recogniser is called 'parrot'; choose from auto, none, whisper.",
        ),
        ({"worker.max_batch": 0}, "flag: worker.max_batch: Expected `int` >= 1."),
        ({"speakers.likeness": 0.0}, "flag: speakers.likeness: Expected `float` > 0.0."),
        ({"speakers.likeness": 1}, "flag: speakers.likeness: Expected `float` < 1.0."),
        (
            {"speakers.told_apart": "many"},
            "flag: speakers.told_apart: Invalid enum value 'many'; choose from auto, off.",
        ),
        ({"speakers.most": 65}, "flag: speakers.most: Expected `int` <= 64."),
        (
            {"speakers.embeder": "a:b"},
            "flags: unknown key 'speakers.embeder'; did you mean 'speakers.embedder'?",
        ),
        ({"partial.every_ms": "soon"}, "flag: partial.every_ms: Expected `int`, got `str`."),
    ],
)
def test_a_wrong_flag_is_told_in_one_line(flags: dict[str, object], line: str) -> None:
    """With the nearest key, or what the value may be."""
    with pytest.raises(ConfigError) as caught:
        load_settings(flags=flags, environ={})
    assert str(caught.value) == line


def test_a_wrong_environment_variable_names_the_nearest() -> None:
    """Others that only begin alike are none of ours."""
    with pytest.raises(ConfigError, match="did you mean 'STREAMSER_ASR_ENGINE'"):
        load_settings(environ={"STREAMSER_ASR_ENGIN": "none"})
    load_settings(environ={"STREAMSER_DATA": "somewhere"})


def test_an_empty_environment_variable_is_as_good_as_none() -> None:
    """As shells and container files like to set them."""
    assert load_settings(environ={"STREAMSER_OFFLINE": "", "STREAMSER_CONFIG": ""}) == (Settings())


@pytest.mark.parametrize("variable", ["STREAMSER_OFLINE", "STREAMSER_ASR", "STREAMSER_VAD_"])
def test_a_variable_that_is_nearly_ours_is_not_passed_over(variable: str) -> None:
    """Somebody meant something by it."""
    with pytest.raises(ConfigError, match=variable):
        load_settings(environ={variable: "1"})


@pytest.mark.parametrize(
    "text",
    [
        "[foo]",
        "[asr.engine]",
        "settings = {}",
        "asr = 3",
        "[mood]\ntime_constant_s = inf",
        "[endpointing]\nsilence_ms = 1000000000000",
        "[worker]\nmax_wait_ms = 1000000000000000",
        '[asr]\nengine = "x - at y"',
        "[vad]\nengine = [1]",
    ],
)
def test_a_file_that_makes_no_sense_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    """Whatever is wrong with it."""
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(str(file), environ={})
    assert "mine.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_device_may_be_given_by_index_in_a_file(tmp_path: Path) -> None:
    """As a number, as one would write it."""
    file = tmp_path / "mine.toml"
    file.write_text("[audio]\ndevice = 0")
    assert load_settings(str(file), environ={}).audio.device == 0


@pytest.mark.parametrize("name", ["x" * 300, "nul\0byte"])
def test_a_name_that_no_file_can_have_is_no_preset(name: str) -> None:
    """And no traceback."""
    with pytest.raises(ConfigError, match="no preset"):
        load_settings(name, environ={})


def test_a_wrong_key_in_a_file_names_the_file_and_the_nearest(tmp_path: Path) -> None:
    """So that it can be found."""
    file = tmp_path / "mine.toml"
    file.write_text("[endpointing]\nsilense_ms = 300")
    with pytest.raises(ConfigError, match=r"mine\.toml.*'endpointing\.silence_ms'"):
        load_settings(str(file), environ={})


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("gone.toml", None, "does not exist"),
        ("broken.toml", "asr = [", "not valid TOML"),
        ("bytes.toml", "\udcff", "not valid TOML"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_one_line(
    tmp_path: Path, name: str, text: str | None, reason: str
) -> None:
    """By its name, and without a word of Python."""
    file = tmp_path / name
    if text is not None:
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=reason) as caught:
        load_settings(str(file), environ={})
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_preset_lists_those_there_are() -> None:
    """And says that a file would do as well."""
    with pytest.raises(ConfigError, match=r"embedded, patient.*\.toml file"):
        load_settings("turbo", environ={})


def test_a_variable_of_any_bytes_is_told_by_its_name() -> None:
    """Where a number is wanted; a file may well have such a name."""
    with pytest.raises(ConfigError, match=r"STREAMSER_ASR_BEAM_SIZE: asr\.beam_size: .*UTF-8"):
        load_settings(environ={"STREAMSER_ASR_BEAM_SIZE": "\udcff"})
    found = load_settings(environ={"STREAMSER_EMOTION_MODEL": "/models/\udcff"})
    assert found.emotion.model == "/models/\udcff"
