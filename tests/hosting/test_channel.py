"""Messages between processes: whole, and in order, whoever sends them."""

from __future__ import annotations

import asyncio
import socket
import threading

from streamser.hosting.channel import FrameProtocol, FrameSender
from streamser.hosting.records import FromWorker, NotLoaded, Said


def test_what_threads_say_comes_whole_while_a_loop_writes_to_the_same_socket() -> None:
    """Nobody reads for a while, so that only a part of a message may be taken at once."""
    heard: list[str] = []

    def hear(message: FromWorker) -> None:
        assert isinstance(message, Said | NotLoaded)
        heard.append(message.line if isinstance(message, Said) else message.code)

    async def scene() -> None:
        ours, theirs = socket.socketpair()
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        sender = FrameSender(ours)
        sender.send(Said("loading"))
        protocol: FrameProtocol[FromWorker] = FrameProtocol(FromWorker, hear, lambda: None)
        sender.hand_over(loop, protocol)
        await loop.create_connection(lambda: protocol, sock=ours)
        for number in range(20):
            protocol.send(NotLoaded(f"a{number}", "x" * 100_000, False))

        def say() -> None:
            for number in range(20):
                sender.send(Said(f"b{number}"))

        saying = threading.Thread(target=say)
        saying.start()
        await asyncio.to_thread(saying.join)
        reader: FrameProtocol[FromWorker] = FrameProtocol(FromWorker, hear, over.set)
        await loop.create_connection(lambda: reader, sock=theirs)
        protocol.close()
        await over.wait()
        reader.close()

    asyncio.run(asyncio.wait_for(scene(), 20))
    numbers = range(20)
    assert heard == ["loading", *(f"a{n}" for n in numbers), *(f"b{n}" for n in numbers)]
