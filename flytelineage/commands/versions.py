"""What FlyteAdmin said of versions, as lines beside the messages of an execution.

Nobody publishes compiled workflows and launch plans: FlyteAdmin was asked for them. So
`export` adds them to the messages, and `replay` keeps them instead of taking them for
messages. Which version it is stands in the answer itself.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from flytelineage.errors import StoreError
from flytelineage.sources import Message, Source

if TYPE_CHECKING:
    from flytelineage.facts import Facts, Identifier
    from flytelineage.store import Store

Kind = Literal["workflow", "launch_plan"]

_KIND, _ANSWER = "flyteAdminVersion", "answer"


def kept(store: Store, facts: Facts) -> Iterator[tuple[Kind, bytes]]:
    """What FlyteAdmin said of the versions that ran."""
    from flytelineage.definition_keys import definition_key

    named: tuple[tuple[Kind, Identifier | None], ...] = (
        ("workflow", facts.workflow),
        ("launch_plan", facts.launch_plan),
    )
    for kind, identifier in named:
        if identifier is not None:
            key = definition_key(kind, identifier, facts.execution.instance)
            for answer in store.definitions([key]).values():
                yield kind, answer


def parsed(kind: Kind, answer: bytes) -> Any:
    """The `admin.Workflow` or `admin.LaunchPlan`.

    Raises:
        ValueError: It is none.
    """
    from flyteidl.admin.launch_plan_pb2 import LaunchPlan
    from flyteidl.admin.workflow_pb2 import Workflow
    from google.protobuf.message import DecodeError

    try:
        return (Workflow if kind == "workflow" else LaunchPlan).FromString(answer)
    except DecodeError as exc:
        raise ValueError(f"this is no {kind}: {exc}") from exc


def written(kind: Kind, answer: bytes) -> str:
    """A line for a file of messages."""
    return json.dumps({_KIND: kind, _ANSWER: base64.b64encode(answer).decode()})


def read(text: str, instance: str) -> tuple[str, bytes] | None:
    """The key and the answer; `None` where the text is anything else."""
    if _KIND not in text[:100]:
        return None
    try:
        value = json.loads(text)
        kind, answer = value[_KIND], base64.b64decode(value[_ANSWER], validate=True)
        id = parsed(kind, answer).id
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if kind not in ("workflow", "launch_plan") or not id.name:
        return None
    return _key(cast("Kind", kind), id, instance), answer


def _key(kind: Kind, id: Any, instance: str) -> str:
    from flytelineage.definition_keys import definition_key
    from flytelineage.facts import Identifier

    return definition_key(kind, Identifier(id.project, id.domain, id.name, id.version), instance)


class WithoutVersions(Source):
    """The messages of a file; versions among them are kept instead of handed out.

    Args:
        source: Reads the file.
        instance: Names the deployment under whose keys versions are kept.
        keep: Takes the key and the answer; `Store.keep_definition`.
    """

    trusted = True

    def __init__(self, source: Source, instance: str, keep: Callable[[str, bytes], bool]) -> None:
        super().__init__()
        self._source, self._instance, self._keep = source, instance, keep

    def receive(self) -> Sequence[Message]:
        """The next messages, without the versions among them."""
        while batch := self._source.receive():
            versions = [message for message in batch if self._kept(message.body)]
            if not versions:
                return batch
            self._source.delete(versions)
            gone = {message.handle for message in versions}
            if messages := [message for message in batch if message.handle not in gone]:
                return messages
        return []

    def delete(self, messages: Sequence[Message]) -> None:
        """Forget these messages."""
        self._source.delete(messages)

    @property
    def exhausted(self) -> bool:
        """Whether nothing will come any more."""
        return self._source.exhausted

    def describe(self) -> str:
        """The source behind it."""
        return self._source.describe()

    def _kept(self, body: str) -> bool:
        found = read(body, self._instance)
        if found is None:
            return False
        try:
            self._keep(*found)
        except StoreError:
            return False  # it comes again, or ends in quarantine, where somebody sees it
        return True
