"""Draw the picture of the README: the terminal view while the demonstration plays.

Plays the bundled conversation at real speed with the preset ``embedded`` until the given
second, and writes what the terminal would show then as SVG.

    python scripts/make_picture.py --until 60 --out docs/listen.svg
"""

from __future__ import annotations

import argparse
import io
from contextlib import closing
from pathlib import Path
from typing import cast

from rich.console import Console

from streamser import Analyzer, load_settings
from streamser.audio.clip import Samples
from streamser.audio.file import FileSource
from streamser.cli.live.demo import demo_recording
from streamser.cli.live.live_view import legend, render, render_utterance
from streamser.cli.live.view_state import Level, ViewState, hear, update
from streamser.events import TranscriptPartial

_WIDTH = 116


class Picture:
    """Follow a session and keep what its terminal would show."""

    def __init__(self, source: str) -> None:
        self.state = ViewState(source=source)
        self.level = Level()
        self.console = Console(
            record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True, highlight=False
        )

    def hear(self, samples: Samples) -> None:
        """Move the level meter."""
        self.level = hear(self.level, samples)

    def draw(self, out: Path) -> None:
        """Add the live part and write it all."""
        self.console.print(render(self.state, self.level, _WIDTH))
        self.console.save_svg(str(out), title="streamser demo")


def main() -> None:
    """Play the demonstration up to a moment and draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--until", type=float, default=60.0, help="second of the recording")
    parser.add_argument("--out", type=Path, default=Path("docs/listen.svg"))
    options = parser.parse_args()

    source = FileSource(demo_recording(), paced=True)
    picture = Picture(source.name)
    with Analyzer(load_settings("embedded")) as analyzer:
        analyzer.models()
        picture.console.print(legend())
        events = analyzer.stream(source, on_audio=picture.hear)
        with closing(cast("io.IOBase", events)):
            for event in events:
                picture.state = update(picture.state, event)
                if picture.state.finished is not None:
                    picture.console.print(render_utterance(picture.state.finished, _WIDTH))
                is_late = picture.level.seconds >= options.until
                if is_late and isinstance(event, TranscriptPartial) and event.committed:
                    break
    picture.draw(options.out)


if __name__ == "__main__":
    main()
