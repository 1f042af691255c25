"""A connection serves one thread at a time, and the next one after it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flytelineage.targets.connections import Connections


class Line:
    """A connection that remembers whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def made() -> list[Line]:
    return []


@pytest.fixture
def make(made: list[Line]) -> Callable[[], Line]:
    def make() -> Line:
        made.append(Line())
        return made[-1]

    return make


def test_a_connection_is_used_again(make: Callable[[], Line], made: list[Line]) -> None:
    """Also after what was done with it has failed."""
    connections: Connections[Line] = Connections()

    for _ in range(2):
        with pytest.raises(OSError, match="gone"), connections.borrowed("token", make):
            raise OSError("gone")

    assert [line.closed for line in made] == [False]


def test_two_at_once_have_one_each(make: Callable[[], Line], made: list[Line]) -> None:
    connections: Connections[Line] = Connections()

    with connections.borrowed("token", make) as one, connections.borrowed("token", make) as other:
        assert one is not other

    connections.close()
    assert [line.closed for line in made] == [True, True]


def test_a_new_key_ends_what_was_made_of_the_old_one(
    make: Callable[[], Line], made: list[Line]
) -> None:
    """Those that are idle at once, those in use when they come back."""
    connections: Connections[Line] = Connections()
    with connections.borrowed("old", make), connections.borrowed("old", make):
        pass

    with connections.borrowed("old", make) as in_use:
        with connections.borrowed("new", make) as newest:
            closed_at_once = [line.closed for line in made if line is not in_use]
        assert not in_use.closed

    assert closed_at_once == [True, False]
    assert in_use.closed
    assert not newest.closed


def test_after_a_close_the_next_one_is_made_anew(
    make: Callable[[], Line], made: list[Line]
) -> None:
    connections: Connections[Line] = Connections()
    with connections.borrowed("token", make):
        pass
    connections.close()

    with connections.borrowed("token", make) as line:
        assert not line.closed

    assert [line.closed for line in made] == [True, False]
