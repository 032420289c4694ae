"""Who is waited for, and how long."""

import pytest

from loramerge.retrying import Retrying


class Servers:
    """Some answer, and some can't be reached."""

    def __init__(self):
        self.gone = set()
        self.calls = 0
        self.waited = []

    def call(self, server):
        self.calls += 1
        if server in self.gone:
            raise ConnectionError(server)
        return server


@pytest.fixture
def servers():
    return Servers()


@pytest.fixture
def asked(servers):
    """Asks a server → how many calls that took."""
    retrying = Retrying(
        lambda: (ConnectionError,), lambda _, usual: usual, lambda error: isinstance(error, ConnectionError)
    )

    def ask(server):
        before = servers.calls
        if server in servers.gone:
            with pytest.raises(ConnectionError):
                retrying.call(lambda: servers.call(server), servers.waited.append, server)
        else:
            assert retrying.call(lambda: servers.call(server), servers.waited.append, server) == server
        return servers.calls - before

    return ask


def test_a_server_that_is_gone_is_waited_for_once(servers, asked):
    servers.gone = {"a"}
    assert [asked("a") for _ in range(3)] == [5, 1, 1]
    assert servers.waited == [1, 2, 4, 8]


def test_others_are_waited_for_all_the_same(servers, asked):
    servers.gone = {"a", "b"}
    assert [asked(each) for each in ("a", "b", "a", "c", "a", "b")] == [5, 5, 1, 1, 1, 1]


def test_one_that_came_back_is_waited_for_again(servers, asked):
    servers.gone = {"a", "b"}
    assert (asked("a"), asked("b")) == (5, 5)
    servers.gone = set()
    assert asked("a") == 1
    servers.gone = {"a", "b"}
    assert (asked("a"), asked("b")) == (5, 1)
