from __future__ import annotations

import pytest
from msgspec.structs import replace

from streamser.emotion.fused.build import build_model
from streamser.errors import ConfigError
from streamser.training.crossval import PAPER, PAPER_ROWS, ROWS, TASKS, System, systems
from streamser.training.settings import TrainSettings, load_train_settings

EVERY_ROW = tuple(row.name for row in ROWS)


@pytest.fixture
def settings() -> TrainSettings:
    """Return the grid's preset."""
    return load_train_settings("ablation")


def weights(system: System) -> int:
    """Count the numbers that a system learns."""
    model = build_model(system.settings.model, texts=["good day to you"] * 9)
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_papers_grid_is_five_rows_of_three_tasks(settings: TrainSettings) -> None:
    """Every row multi-task, categories only and dimensions only."""
    names = [(system.row, system.task) for system in systems(settings, PAPER_ROWS, TASKS)]
    assert names == [(row, task) for row in PAPER_ROWS for task in TASKS]
    assert set(PAPER) <= set(names)


def test_each_row_adds_weights_to_the_one_before(settings: TrainSettings) -> None:
    """Up to the bridge tokens, each row has a part more; masking alone adds none."""
    sizes = [weights(system) for system in systems(settings, PAPER_ROWS, ("both",))]
    assert sizes[0] < sizes[1] < sizes[2] < sizes[3] == sizes[4]


def test_only_the_last_row_hides_modalities(settings: TrainSettings) -> None:
    """RMM is a row of its own, with the settings' probability."""
    modes = {s.row: s.settings.masking.mode for s in systems(settings, EVERY_ROW, ("both",))}
    assert modes.pop("rmm") == "epoch"
    assert set(modes.values()) == {"none"}


def test_a_single_task_has_one_head(settings: TrainSettings) -> None:
    """And leaves everything else as it is."""
    both, category, dimension = systems(settings, ("bridge-tokens",), TASKS)
    assert category.settings.model.heads.dimensions == ()
    assert dimension.settings.model.heads.categories == ()
    assert category.settings.model.fusion == both.settings.model.fusion
    assert category.settings.model.heads.categories == both.settings.model.heads.categories


def test_rows_of_one_modality_have_one_encoder(settings: TrainSettings) -> None:
    """What the fusion must beat."""
    voice, words = systems(settings, ("voice", "words"), ("both",))
    assert voice.modalities == ("audio",)
    assert words.modalities == ("text",)


def test_rows_that_the_paper_lacks_are_made_once(settings: TrainSettings) -> None:
    """They are compared with the multi-task rows alone."""
    found = systems(settings, ("bridge-tokens", "concat"), TASKS)
    assert [system.name for system in found] == [
        "bridge-tokens.both",
        "bridge-tokens.category",
        "bridge-tokens.dimension",
        "concat.both",
    ]


def test_a_name_that_is_none_is_refused(settings: TrainSettings) -> None:
    """The line lists what there is."""
    with pytest.raises(ConfigError, match="no row is called 'bridges'; there are baseline"):
        systems(settings, ("bridges",), TASKS)
    with pytest.raises(ConfigError, match="no task is called 'valence'"):
        systems(settings, PAPER_ROWS, ("valence",))


def test_settings_that_lack_what_a_row_needs_are_refused(settings: TrainSettings) -> None:
    """A model of the voice alone has no row with both modalities."""
    deaf = replace(settings, model=replace(settings.model, text=None))
    with pytest.raises(ConfigError, match=r"'baseline' needs model\.text"):
        systems(deaf, ("baseline",), ("both",))
    assert systems(deaf, ("voice",), ("both",))
