"""^C that waits."""

from __future__ import annotations

import signal
import threading

import pytest

from loramerge.files.interrupts import at_once, later, noting


def test_it_waits_until_the_outermost_block_is_over():
    before, done = signal.getsignal(signal.SIGINT), []

    def twice():
        with later(signal.SIGINT):
            with later(signal.SIGINT):
                signal.raise_signal(signal.SIGINT)
                done.append("inside")
            done.append("outside")

    with pytest.raises(KeyboardInterrupt):
        twice()
    assert done == ["inside", "outside"]
    assert signal.getsignal(signal.SIGINT) is before


def test_it_waits_also_where_a_library_unblocks_it():
    done = []

    def unblocked():
        with later(signal.SIGINT):
            at_once(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            done.append("after")

    with pytest.raises(KeyboardInterrupt):
        unblocked()
    assert done == ["after"]


def test_nothing_comes_where_nothing_came():
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with later(signal.SIGINT):
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask


def test_another_thread_leaves_what_the_first_does_with_it():
    before, found = signal.getsignal(signal.SIGINT), []

    def block():
        with later(signal.SIGINT):
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert found == [before]


def test_who_ignores_it_does_still(monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    noting()
    assert signal.signal(signal.SIGINT, before) is signal.SIG_IGN
