"""The sockets that listen: bounds of connections and of files."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator

import pytest

from streamser.server.connections import ConnectionTable
from streamser.server.limits import ConnectionBounds, connection_bounds, short_of_files
from streamser.server.transport import ListeningSocket, open_sockets
from streamser.settings import ServerSettings

resource = pytest.importorskip("resource")


@contextlib.contextmanager
def door(bounds: ConnectionBounds) -> Iterator[tuple[ListeningSocket, ConnectionTable, list[str]]]:
    """Open a door on this machine; what it refuses comes into a list."""
    refused: list[str] = []
    table = ConnectionTable(bounds)
    (listening,) = open_sockets("127.0.0.1", 0, table, refused.append)
    listening.settimeout(10)
    try:
        yield listening, table, refused
    finally:
        listening.close()


@contextlib.contextmanager
def files(count: int) -> Iterator[None]:
    """Let this process have so many files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_connection_counts_until_it_is_closed() -> None:
    """From its accept on."""
    with door(ConnectionBounds()) as (listening, table, _):
        with socket.create_connection(listening.getsockname()):
            guest, _ = listening.accept()
            assert (table.open, table.waiting) == (1, 1)
            guest.close()
            guest.close()
        assert table.open == 0


def test_whoever_is_shown_out_sees_the_end_at_once() -> None:
    """Not after a while."""
    with door(ConnectionBounds(waiting=1)) as (listening, _, _):
        place = listening.getsockname()
        with socket.create_connection(place) as first:
            slow, _ = listening.accept()
            second = socket.create_connection(place)
            quick, _ = listening.accept()
            assert first.recv(1) == b""
            for each in (second, quick, slow):
                each.close()


def test_a_full_house_hangs_up() -> None:
    """And has nothing left to wake up for."""
    with door(ConnectionBounds(open=1)) as (listening, _, refused):
        with socket.create_connection(listening.getsockname()):
            guest, _ = listening.accept()
            with socket.create_connection(listening.getsockname()) as late:
                listening.setblocking(False)
                with pytest.raises(BlockingIOError):
                    listening.accept()
                assert late.recv(1) == b""
            guest.close()
        assert refused == ["too_many_connections"]


@pytest.mark.skipif(sys.platform != "linux", reason="counts open files by /proc")
def test_where_no_file_is_left_the_caller_is_sent_away() -> None:
    """Else it would be there again at the next look, for ever."""
    with door(ConnectionBounds()) as (listening, _, refused):
        with socket.create_connection(listening.getsockname()) as late:
            listening.setblocking(False)
            most = max(int(name) for name in os.listdir("/proc/self/fd")) + 1
            with files(most):
                filling = []
                with contextlib.suppress(OSError):
                    while True:
                        filling.append(os.open(os.devnull, os.O_RDONLY))
                try:
                    with pytest.raises(BlockingIOError):
                        listening.accept()
                finally:
                    for each in filling:
                        os.close(each)
            assert late.recv(1) == b""
        assert refused == ["no_files"]


def test_too_few_files_are_told_in_one_line() -> None:
    """With the number that is needed; and no more are let in than there are files for."""
    own = ServerSettings(max_sessions=64, max_listeners=256)
    with files(4096):
        assert short_of_files(own) is None
        assert connection_bounds(own).open == 64 + 256 + 2 * 128
    with files(500):
        told = short_of_files(own)
        assert told is not None
        assert "may open 500 files" in told
        assert "ulimit -n" in told
        assert "\n" not in told
        assert connection_bounds(own).open < 500 - 128
        tight = connection_bounds(ServerSettings(max_sessions=180))
        # Else they would fill it for as long as a handshake may take.
        assert tight.waiting <= tight.open // 2
        assert tight.waiting_of_one <= tight.open // 4
