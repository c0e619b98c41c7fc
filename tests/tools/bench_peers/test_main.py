from __future__ import annotations

from pathlib import Path

import pytest

from tools.bench_peers.__main__ import main


def test_missing_recordings_cost_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing has been started by then."""
    assert main(["--out", str(tmp_path / "out.json"), "--data", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bench-peers: ")
    assert "--data DIR" in line


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--servers", "deepgram"], "no server 'deepgram'; there are streamser, whisperlive"),
        (["--streams", "1,many"], "'1,many' are no counts of streams"),
        (["--streams", "0"], "one stream at least"),
        (["--cores", "4096"], "no core 4096 here"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last line says what is wrong with which of them."""
    with pytest.raises(SystemExit) as refused:
        main(["--out", "out.json", *arguments])
    assert refused.value.code == 2
    assert complaint in capsys.readouterr().err.splitlines()[-1]
