"""Every event that leaves the program; ``docs/protocol.md`` is generated from this package.

Names and fields of the transcription events are those of the OpenAI Realtime transcription
API (GA schema); what is ours is called ``streamser.*``. Clients must ignore fields and types
that they do not know.
"""

from __future__ import annotations

from streamser.events import session, values
from streamser.events.session import *  # noqa: F403
from streamser.events.values import *  # noqa: F403

__all__ = []
__all__ += session.__all__
__all__ += values.__all__
