from __future__ import annotations

import pytest

from streamser.cli.options import needs_extra
from streamser.errors import ModelError


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        (ModuleNotFoundError("No module named 'torch'", name="torch"), r"\(torch\)"),
        (OSError("libtorch_cpu.so: cannot open shared object file"), "libtorch_cpu"),
    ],
)
def test_what_cannot_be_imported_is_told_with_the_command_that_brings_it(
    fault: Exception, word: str
) -> None:
    """A package that is not there, or one without its libraries."""
    with (
        pytest.raises(ModelError, match=rf"a training needs .*{word}.*streamser\[train\]"),
        needs_extra("train", "a training"),
    ):
        raise fault
