"""Talk to a server: send sound and get typed events, or listen to what others send.

``async with connect(url) as session`` sends; ``async for told in subscribe(url)`` listens. Both
connect again when the connection breaks, lose no final and tell no event twice.
"""

from __future__ import annotations

from streamser.client.errors import ServerError
from streamser.client.line import Timing
from streamser.client.listener import Stamped, subscribe
from streamser.client.place import placed
from streamser.client.session import Session, connect
from streamser.client.sound import Encoding

__all__ = [
    "Encoding",
    "ServerError",
    "Session",
    "Stamped",
    "Timing",
    "connect",
    "placed",
    "subscribe",
]
