"""``listen --report``: the one-file report of a session, made and shown when it is over."""

from __future__ import annotations

import sys
import time
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from streamser.cli.talk import tell, warn
from streamser.errors import StreamserError
from streamser.events import SessionCreated

if TYPE_CHECKING:
    from streamser.audio.clip import Samples
    from streamser.events import Event

__all__ = ["ReportSink"]


class ReportSink:
    """Gather the events of a session, and write its report at the end: no sound is in it.

    On a terminal it is opened in the browser. Of a session that never began there is none. A
    fault costs one line, and ``complete`` turns false.
    """

    def __init__(self, path: Path) -> None:
        from streamser.export.gather import Gatherer

        self.complete = True
        self._path = path
        self._gatherer = Gatherer()
        self._begun = False

    def take(self, event: Event) -> None:
        """Take the next event."""
        from streamser.export.gather import Place

        began = round(time.time() * 1000) if isinstance(event, SessionCreated) else None
        self._gatherer.take(event, Place(unix_ms=began))
        self._begun = True

    def hear(self, samples: Samples) -> None:
        """Need no sound."""

    def close(self) -> None:
        """Write the report."""
        if not self._begun:
            return
        from streamser.export.formats import save
        from streamser.report.figures import figures_of
        from streamser.report.page import render_page

        try:
            # Several sessions here are one stream whose server was restarted.
            recording = self._gatherer.recording()
            figures = figures_of(recording, one_clock=True, title=self._path.stem)
            save(render_page(figures, []), self._path)
        except (OSError, StreamserError) as error:
            self.complete = False
            warn(f"--report {self._path}: {getattr(error, 'strerror', None) or error}")
            return
        tell(f"Written: {self._path}.")
        if sys.stdout.isatty():
            webbrowser.open(self._path.absolute().as_uri())
