from __future__ import annotations

from pathlib import Path

import pytest

from streamser.emotion import choose
from streamser.emotion.choose import choose_model, loads_slowly, model_names
from streamser.errors import ConfigError, ModelError
from streamser.settings import EmotionSettings
from tests.emotion.compact.bundles import tiny_bundle
from tests.emotion.fused.checkpoints import tiny_checkpoint


def test_without_a_wish_the_bundled_model_reads_emotion() -> None:
    """It needs neither torch nor a download."""
    assert choose_model(EmotionSettings()).name == "compact"
    assert model_names() == ["rules", "compact"]


def test_the_rules_are_there_for_whoever_wants_them() -> None:
    """Training-free."""
    assert choose_model(EmotionSettings(model="rules")).name == "rules"


def test_a_bundle_in_any_folder_is_a_model_too(tmp_path: Path) -> None:
    """Named as its folder is."""
    where = tiny_bundle(tmp_path / "mine")
    assert choose_model(EmotionSettings(model=str(where))).name == "mine"


def test_a_directory_is_a_trained_model(tmp_path: Path) -> None:
    """One setting makes the difference."""
    where = tiny_checkpoint(tmp_path / "tiny")
    assert choose_model(EmotionSettings(model=str(where), device="cpu")).name == "tiny"


def test_people_are_told_of_what_takes_its_time_to_load(tmp_path: Path) -> None:
    """Checkpoints and public models do; bundles, the rules and misspelt names do not."""
    bundle = tiny_bundle(tmp_path / "mine")
    checkpoint = tmp_path / "theirs"
    checkpoint.mkdir()
    slow = ("sensevoice", "owner/name", str(checkpoint))
    assert all(loads_slowly(name) for name in slow)
    assert not any(loads_slowly(name) for name in ("compact", "rules", "cmopact", str(bundle)))


def test_a_model_that_comes_with_the_program_has_a_plain_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What else lies there is no model."""
    tiny_checkpoint(tmp_path / "compact")
    (tmp_path / "notes").mkdir()
    monkeypatch.setattr(choose, "_BUNDLED", tmp_path)
    assert model_names() == ["rules", "compact"]
    assert choose_model(EmotionSettings(model="compact")).name == "compact"


@pytest.mark.parametrize(
    "name", ["rulez", "/absent/directory", "too/many/parts", "x" * 300, "nul\0byte", "~nobody/x/y"]
)
def test_a_name_that_no_model_has_is_told_with_those_there_are(name: str) -> None:
    """In one line, and without asking the hub."""
    with pytest.raises(ConfigError, match=r"there are rules.*directory.*owner/name") as caught:
        choose_model(EmotionSettings(model=name))
    assert "\n" not in str(caught.value)


def test_a_name_of_the_hub_is_looked_up_in_its_cache_where_the_network_is_forbidden() -> None:
    """And told as missing there."""
    with pytest.raises(ModelError, match=r"nobody-here/no-model.*downloads are switched off"):
        choose_model(EmotionSettings(model="nobody-here/no-model"), offline=True)
