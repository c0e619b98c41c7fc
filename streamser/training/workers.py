"""Work side by side in processes that never outlive the one that started them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from typing import TypeVar

from streamser.errors import StreamserError

Work = TypeVar("Work")
Found = TypeVar("Found")


def run_side_by_side(
    work: Callable[[Work], Found],
    parts: Sequence[Work],
    *,
    jobs: int,
    report: Callable[[Work, Found], None],
) -> None:
    """Do each part of a work in one of ``jobs`` processes; ``report`` each as it is finished.

    ``work``, the parts and what is found of them must be picklable. What a part raises, and
    Ctrl-C, ends all processes at once; so does the end of this process, however it comes.
    Raises ``StreamserError`` where one of them is killed.
    """
    others = set(active_children())
    # A forked child of a process that has used torch's threads can hang.
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_follow_parent) as pool:
        try:
            with _without_interrupts():
                running = {pool.submit(work, part): part for part in parts}
            for future in as_completed(running):
                report(running[future], future.result())
        except BaseException as error:
            for child in set(active_children()) - others:
                child.terminate()
            pool.shutdown(cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                raise StreamserError(
                    "a process has died in its work, perhaps for want of memory; run the same "
                    "command again, with fewer --jobs."
                ) from None
            raise


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Put Ctrl-C off, for this process until the end of the block, for its children for good.

    A terminal sends it to all of them, and each child that is just starting would complain.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent, and end when it has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:

        def wait() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=wait, name="follow parent", daemon=True).start()
