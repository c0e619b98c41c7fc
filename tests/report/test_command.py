"""``streamser report``: one line for each outcome, and a page that is whole."""

from __future__ import annotations

import stat
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.cli.running import refuses, run
from tests.cli.sounds import spoken, write
from tests.export.script import Script, saved, stamped
from tests.report.reading import find, parse, words_of


def conversation(folder: Path, source: str | None = None) -> Path:
    """Write a session of two utterances."""
    script = Script(speaker="Anna", source=source)
    script.say(1000, 2000, "hello")
    script.say(3000, 4000, "bye", "sad")
    return saved(folder / "talk.jsonl", script.close())


def test_a_session_becomes_a_page_beside_it(tmp_path: Path) -> None:
    """One line says so; no half page is left beside it."""
    result = run("report", conversation(tmp_path))
    assert result.exit_code == 0, result.stderr
    out = tmp_path / "talk.html"
    assert result.stderr.splitlines() == [f"{out}: 2 utterances."]
    assert len(find(parse(out.read_text(encoding="utf-8")), class_="row")) == 2
    assert not list(tmp_path.glob(".*"))


def test_sound_is_in_the_page_only_if_it_is_asked_for(tmp_path: Path) -> None:
    """By naming it, or by allowing what the session names."""
    sound = write(tmp_path / "talk.wav", spoken(3.0))
    events = conversation(tmp_path, str(sound))
    out = tmp_path / "page.html"
    assert run("report", events, "-o", out).exit_code == 0
    assert not find(parse(out.read_text(encoding="utf-8")), "audio")
    for asked in (["--audio", sound], ["--with-audio"]):
        assert run("report", events, "-o", out, *asked).exit_code == 0
        (audio,) = find(parse(out.read_text(encoding="utf-8")), "audio")
        assert audio.attributes["src"].startswith("data:audio/wav;base64,UklGR")
    assert f"{sound}: goes into the page." in run("report", events, "--with-audio").stderr
    refuses(run("report", events, "--audio", sound, "--with-audio"), 2, "choose one")
    refuses(run("report", events, "--audio", tmp_path / "none.wav"), 1, "none.wav: No such file")


def test_a_file_that_only_looks_like_sound_is_refused(tmp_path: Path) -> None:
    """The page would have a player that plays nothing."""
    fake = tmp_path / "talk.mp3"
    fake.write_text("hello")
    events = conversation(tmp_path, str(fake))
    for asked in (["--audio", fake], ["--with-audio"]):
        result = run("report", events, *asked)
        assert result.exit_code == 1
        assert "talk.mp3 is not audio" in result.stderr.splitlines()[-1]
        assert "Traceback" not in result.output
    assert not (tmp_path / "talk.html").exists()


def test_sound_that_is_not_there_is_told(tmp_path: Path) -> None:
    """A server's session names none."""
    result = run("report", conversation(tmp_path), "--with-audio")
    assert result.exit_code == 1
    assert "--audio FILE" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.output
    assert not (tmp_path / "talk.html").exists()


def test_a_cut_session_is_reported_up_to_there_and_the_page_says_so(tmp_path: Path) -> None:
    """Where the file lies is nobody's business there."""
    events = conversation(tmp_path)
    events.write_bytes(events.read_bytes()[:-30])
    result = run("report", events)
    assert result.exit_code == 0
    assert "its last line is cut off" in result.stderr.splitlines()[0]
    page = (tmp_path / "talk.html").read_text(encoding="utf-8")
    (notice,) = find(parse(page), class_="trouble")
    assert "talk.jsonl: its last line is cut off; read up to there." in words_of(notice)
    assert "the events end before the session did." in words_of(notice)
    assert str(tmp_path) not in page


def test_mixed_sessions_are_refused_as_by_export(tmp_path: Path) -> None:
    """One is chosen, or all are laid on one clock."""
    scripts = [Script("a"), Script("b")]
    for script in scripts:
        script.say(1000, 2000, "hello")
    events = saved(tmp_path / "x.jsonl", *(script.close() for script in scripts))
    refuses(run("report", events), 1, "2 sessions", "--session ID (a, b)", "--one-clock")
    for chosen, speakers in ((["--session", "b"], 1), (["--one-clock"], 2)):
        assert run("report", events, *chosen).exit_code == 0
        page = parse((tmp_path / "x.html").read_text(encoding="utf-8"))
        assert len(find(page, class_="lane-name")) == speakers
    refuses(run("report", events, "--session", "c"), 1, "no session c")


def test_files_of_a_meeting_become_one_page(tmp_path: Path) -> None:
    """With its speakers, called after the meeting."""
    files = []
    for name, began in (("Anna", 0), ("Ben", 10_000)):
        script = Script(name.lower(), speaker=name, meeting="Monday")
        script.say(1000, 2000, f"I am {name}")
        told = {name: (script.close(), began)}
        files.append(stamped(tmp_path / f"{name}.jsonl", told, "Monday"))
    out = tmp_path / "m.html"
    result = run("report", *files, "-o", out)
    assert result.exit_code == 0, result.stderr
    page = parse(out.read_text(encoding="utf-8"))
    assert words_of(find(page, "h1")[0]) == "Monday"
    assert [words_of(each) for each in find(page, "bdi", class_="name")][:2] == ["Anna", "Ben"]


def test_what_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    """Also the file that is read."""
    events = conversation(tmp_path)
    refuses(run("report", events, "-o", tmp_path), 2, "it is a folder")
    refuses(run("report", events, "-o", tmp_path / "no" / "x.html"), 2, "does not exist")
    refuses(run("report", events, "-o", events), 2, "that is what is read")
    refuses(run("report", tmp_path / "none.jsonl"), 1, "none.jsonl: No such file")
    nothing = tmp_path / "nothing.jsonl"
    nothing.write_text("hello\n")
    refuses(run("report", nothing), 1, "no events of ours")
    refuses(run("report", events, "--plots", events), 2, "is a file; name a folder")


def test_plots_are_png_and_svg_and_always_the_same(tmp_path: Path) -> None:
    """A name is text in them, whatever signs are in it."""
    pytest.importorskip("matplotlib")
    script = Script()
    script.say(1000, 2000, "hello", speaker="$x^2$ <b>")
    script.say(2000, 3000, "hello", "sad", speaker="Ben")
    events = saved(tmp_path / "talk.jsonl", script.close())
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        result = run("report", events, "--plots", folder)
        assert result.exit_code == 0, result.stderr
    names = sorted(path.name for path in folders[0].iterdir())
    drawn = ("categories", "latency", "plane", "timeline", "uncertainty")
    assert names == sorted(f"{name}.{ending}" for name in drawn for ending in ("png", "svg"))
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name
    assert "$x^2$ <b>" in "".join(ET.parse(folders[0] / "timeline.svg").getroot().itertext())
    if sys.platform != "win32":
        modes = {stat.S_IMODE(path.stat().st_mode) for path in folders[0].iterdir()}
        assert modes == {0o600}, "what people say is for its owner only"


def test_without_matplotlib_plots_are_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line says what to install."""
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    events = conversation(tmp_path)
    refuses(run("report", events, "--plots", tmp_path), 1, "pip install 'streamser[plots]'")
    assert run("report", events).exit_code == 0


def test_an_empty_session_has_a_page_and_no_plots(tmp_path: Path) -> None:
    """Nothing was said, and that is said."""
    pytest.importorskip("matplotlib")
    events = saved(tmp_path / "x.jsonl", Script().close())
    result = run("report", events, "--plots", tmp_path / "plots")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.splitlines()[-1].endswith("plots: 0 files.")
    assert not list((tmp_path / "plots").iterdir())
