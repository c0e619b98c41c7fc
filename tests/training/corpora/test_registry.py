"""The registry: every reader by the name that its utterances bear."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamser.errors import ConfigError
from streamser.training.corpora.registry import READERS, read_corpus
from tests.data import shared_data


@pytest.mark.parametrize(
    ("name", "part"),
    [("cremad", "cremad_mel"), ("emodb", "emodb"), ("ravdess", "ravdess_eval"), ("xed", "text")],
)
def test_a_corpus_is_read_by_its_name(name: str, part: str) -> None:
    """And its items say it."""
    items = read_corpus(name, shared_data(part))
    assert {item.corpus for item in items} == {name}


def test_every_reader_refuses_an_empty_folder_in_one_line(tmp_path: Path) -> None:
    """Nothing but what was looked for and where it comes from."""
    for name in READERS.keys() - {"csv"}:
        with pytest.raises(ConfigError, match="no copy of"):
            read_corpus(name, tmp_path)


def test_unknown_names_and_folders_are_refused(tmp_path: Path) -> None:
    """The known names are listed."""
    with pytest.raises(ConfigError, match="no reader for 'savee'; there are iemocap, msp-podcast"):
        read_corpus("savee", tmp_path)
    with pytest.raises(ConfigError, match="does not exist"):
        read_corpus("emodb", tmp_path / "none")
