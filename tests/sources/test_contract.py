"""What every source promises, run on each of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from flytelineage.errors import ConfigError
from flytelineage.sources import Backlog, Message, Source
from flytelineage.sources.file import FileSource
from flytelineage.sources.sqs import SqsSource
from flytelineage.testing.sqs import SqsDouble

BODIES = ['{"Type": "Notification"}', "CgIIAQ==", "Grüße\nund mehr", '"quoted"']


@dataclass
class Place:
    """Where a source finds its messages.

    Attributes:
        lapse: Lets so much time pass that undeleted messages come again.
    """

    fill: Callable[[Sequence[str]], None]
    source: Callable[[], Source]
    elsewhere: Callable[[], Source]
    lapse: Callable[[], None]


@pytest.fixture
def sqs_place(sqs: SqsDouble) -> Place:
    queue = sqs.create_queue("events")
    return Place(
        fill=queue.send,
        source=lambda: SqsSource(queue="events", wait_seconds=0),
        elsewhere=lambda: SqsSource(queue="nowhere", wait_seconds=0),
        lapse=lambda: sqs.advance(31),
    )


@pytest.fixture
def file_place(tmp_path: Path) -> Place:
    path = tmp_path / "events.jsonl"
    return Place(
        fill=lambda bodies: path.write_text("".join(f"{json.dumps(body)}\n" for body in bodies)),
        source=lambda: FileSource(path=str(path)),
        elsewhere=lambda: FileSource(path=str(tmp_path / "nowhere.jsonl")),
        lapse=lambda: None,
    )


@pytest.fixture(params=["sqs", "file"])
def place(request: pytest.FixtureRequest) -> Place:
    return request.getfixturevalue(f"{request.param}_place")


@pytest.fixture
def source(place: Place) -> Source:
    source = place.source()
    yield source
    source.close()


def drain(source: Source) -> list[Message]:
    """Receive and delete until nothing comes."""
    taken: list[Message] = []
    while messages := source.receive():
        source.delete(messages)
        taken.extend(messages)
    return taken


def test_every_body_comes_as_it_was_sent(place: Place, source: Source) -> None:
    """Undecoded, whatever it holds."""
    place.fill(BODIES)

    messages = drain(source)

    assert [one.body for one in messages] == BODIES
    assert [one.receive_count for one in messages] == [1] * len(BODIES)


def test_a_deleted_message_does_not_come_again(place: Place, source: Source) -> None:
    """Not even much later."""
    place.fill(BODIES)
    drain(source)

    place.lapse()

    assert list(source.receive()) == []


def test_a_message_that_was_not_deleted_comes_again(place: Place, source: Source) -> None:
    """The others do not; and it says that it is here for the second time."""
    place.fill(BODIES)
    first = source.receive()
    source.delete([first[0], *first[2:]])

    place.lapse()
    again = source.receive()

    assert [(one.body, one.receive_count) for one in again] == [(BODIES[1], 2)]


def test_what_came_again_can_be_deleted(place: Place, source: Source) -> None:
    """With what the second delivery said."""
    place.fill(BODIES)
    source.receive()
    place.lapse()

    source.delete(source.receive())

    place.lapse()
    assert list(source.receive()) == []


def test_deleting_twice_changes_nothing(place: Place, source: Source) -> None:
    """A delete whose answer was lost is simply repeated."""
    place.fill(BODIES)
    messages = source.receive()
    source.delete(messages)

    source.delete(messages)

    place.lapse()
    assert list(source.receive()) == []


def test_deleting_nothing_is_fine(place: Place, source: Source) -> None:
    """It takes no request either."""
    place.fill([])

    source.delete([])

    assert list(source.receive()) == []


def test_a_source_is_not_exhausted_while_something_may_come(place: Place, source: Source) -> None:
    """What was received and not deleted may."""
    place.fill(BODIES)

    before = source.exhausted
    source.receive()

    assert (before, source.exhausted) == (False, False)


def test_threads_may_share_a_source(place: Place, source: Source) -> None:
    """Each message is deleted at last, and none is lost on the way."""
    bodies = [str(number) for number in range(200)]
    place.fill(bodies)

    with ThreadPoolExecutor() as pool:
        taken = [one for part in pool.map(lambda _: drain(source), range(4)) for one in part]

    place.lapse()
    assert list(source.receive()) == []
    assert {one.body for one in taken} == set(bodies)


def test_a_check_takes_no_message(place: Place, source: Source) -> None:
    """All are there afterwards, for the first time."""
    place.fill(BODIES)

    source.check()

    assert [one.receive_count for one in source.receive()] == [1] * len(BODIES)


@pytest.mark.parametrize("use", [Source.check, Source.receive])
def test_a_place_that_is_missing_is_the_operators_fault(
    place: Place, use: Callable[[Source], object]
) -> None:
    """One line names it, and what to set."""
    source = place.elsewhere()

    with pytest.raises(ConfigError, match="nowhere") as caught:
        getattr(source, use.__name__)()

    assert "\n" not in str(caught.value)
    source.close()


@pytest.mark.parametrize("kind", [SqsSource, FileSource])
def test_a_source_that_was_told_nothing_says_what_to_set(kind: type[Source]) -> None:
    """Only when it is used: it may be the default that nobody asked for."""
    source = kind()

    with pytest.raises(ConfigError, match=r"sqs_queue|path"):
        source.receive()


def test_hiding_what_is_in_hand_loses_nothing(place: Place, source: Source) -> None:
    """It can be deleted as before, and what is not comes again in the end."""
    place.fill(BODIES)
    messages = source.receive()

    source.hide(messages, 20)
    source.delete(messages[1:])

    place.lapse()
    assert [one.body for one in source.receive()] == BODIES[:1]


def test_what_is_given_back_comes_again(place: Place, source: Source) -> None:
    """Without waiting, and it can be deleted then."""
    place.fill(BODIES)

    source.hide(source.receive(), 0)

    assert {one.body for one in drain(source)} == set(BODIES)
    assert list(source.receive()) == []


def test_hiding_nothing_is_fine(place: Place, source: Source) -> None:
    """Also for the daemon that is stopped before anything came."""
    place.fill([])

    source.hide([], 0)

    assert list(source.receive()) == []


def test_a_source_that_hides_says_for_how_long(place: Place, source: Source) -> None:
    """Long enough to store what came; or it hides until it is deleted."""
    seconds = source.visibility_seconds

    assert seconds is None or seconds >= 30


def test_asking_for_the_backlog_takes_nothing(place: Place, source: Source) -> None:
    """All is there afterwards, for the first time."""
    place.fill(BODIES)

    backlog = source.backlog()

    assert backlog in (None, Backlog(visible=len(BODIES), in_flight=0))
    assert [one.receive_count for one in source.receive()] == [1] * len(BODIES)


def test_closing_may_be_repeated(place: Place, source: Source) -> None:
    """Also before anything was opened."""
    place.fill(BODIES)
    place.source().close()
    source.receive()

    source.close()
    source.close()


def test_a_source_describes_itself(source: Source) -> None:
    """In a few words, for the line that is logged at start."""
    assert "events" in source.describe()


@pytest.mark.parametrize("kind", [SqsSource, FileSource])
def test_every_option_is_explained(kind: type[Source]) -> None:
    """With an example, and it can be set from outside."""
    own = {name: trait for name, trait in kind.class_traits().items() if name in vars(kind)}

    assert own
    for name, trait in own.items():
        assert "Example:" in trait.help, name
        assert trait.metadata.get("config"), name


def test_making_a_source_imports_no_client() -> None:
    """So that `--help` stays quick."""
    code = (
        "import sys\n"
        "from flytelineage.sources.sqs import SqsSource\n"
        "from flytelineage.sources.file import FileSource\n"
        "SqsSource(queue='events'), FileSource(path='-')\n"
        "sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)\n"
    )

    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
