"""Talk to a server: send sound and get typed events, or listen to what others send.

``async with connect(url) as session`` sends; ``async for told in subscribe(url)`` listens. Both
connect again when the connection breaks, lose no final and tell no event twice.
"""

from __future__ import annotations

from streamser.client.connection import RetryTiming
from streamser.client.listener import Stamped, subscribe
from streamser.client.session import ClientSession, connect
from streamser.client.wire import Encoding, ServerError, shift_times

__all__ = [
    "ClientSession",
    "Encoding",
    "RetryTiming",
    "ServerError",
    "Stamped",
    "connect",
    "shift_times",
    "subscribe",
]
