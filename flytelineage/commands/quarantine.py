"""`flytelineage quarantine`: messages that could not be read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from traitlets import Bool, Integer

from flytelineage.commands import Command, Program, hand_out, say, say_lines, table
from flytelineage.errors import ConfigError, DecodeError
from flytelineage.events import decode

if TYPE_CHECKING:
    from flytelineage.store import Store

_ACTIONS = ("list", "show", "replay")
_ALL = 1_000_000


class Quarantine(Command):
    """Lists, shows and replays messages that could not be read.

    `list` prints each with its id, `show` the body of one, byte by byte as it came, and
    `replay` reads one or all again, which helps after an upgrade: what can be read now
    is recorded and leaves quarantine. What came from a topic that is not in
    `FlyteLineage.topics` stays until it is. The first digits of an id will do.
    """

    usage = "list | show ID | replay ID | replay --all"
    examples = """
        flytelineage quarantine list
        flytelineage quarantine show 3f2a91
        flytelineage quarantine replay --all
    """

    everything = Bool(
        False,
        help="""
        Replay all that is in quarantine.

        Example: flytelineage quarantine replay --all
        """,
    ).tag(config=True)

    limit = Integer(
        50,
        min=1,
        help="""
        The most messages that `list` prints, the last seen first.

        Example: flytelineage quarantine list --limit=500
        """,
    ).tag(config=True)

    aliases = {"limit": ("Quarantine.limit", "the most messages that `list` prints; 50 by default")}
    flags = {"all": ({"Quarantine": {"everything": True}}, "replay all that is in quarantine")}

    def run(self, program: Program, arguments: Sequence[str]) -> int:
        """List, show or replay; 1 when something replayed can still not be read."""
        action, *rest = arguments or ["list"]
        if action not in _ACTIONS:
            raise self.misused(arguments)
        with program.opened_store() as store:
            if action == "list":
                self.none(rest)
                return self._list(store)
            if action == "show":
                hand_out(store.quarantine_body(_id(store, self.one(rest))))
                return 0
            return self._replay(store, program, rest)

    def _list(self, store: Store) -> int:
        kept = store.quarantined(self.limit)
        if not kept:
            say("Quarantine is empty: every message could be read")
            return 0
        rows = [("ID", "LAST SEEN (UTC)", "TIMES", "BYTES", "REASON")]
        rows += [
            (
                one.id[:12],
                f"{one.last_seen:%Y-%m-%d %H:%M:%S}",
                str(one.count),
                str(one.body_bytes),
                f"{one.reason} (there was no room to keep it)" if one.emptied else one.reason,
            )
            for one in kept
        ]
        say_lines(table(rows, indent=""))
        return 0

    def _replay(self, store: Store, program: Program, rest: Sequence[str]) -> int:
        if self.everything:
            self.none(rest)
            ids = [one.id for one in store.quarantined(_ALL) if not one.emptied]
        else:
            ids = [_id(store, self.one(rest))]
        released = sum(_released(store, one, program) for one in ids)
        say(f"Recorded {released} of {len(ids)}; {len(ids) - released} can still not be read")
        return 0 if released == len(ids) else 1


def _released(store: Store, id: str, program: Program) -> bool:
    """Record a message of quarantine and let it go, if it can be read now."""
    try:
        event = decode(
            store.quarantine_body(id),
            received_at=datetime.now(timezone.utc),
            instance=program.instance,
            # Else a replay of everything would let in what the allow-list kept out.
            topics=program.topics,
        )
    except DecodeError as exc:
        say(f"{id[:12]}  {exc}")
        return False
    store.record([event])
    store.quarantine_release([id])
    return True


def _id(store: Store, start: str) -> str:
    """The one id that begins like this."""
    found: list[str] = [
        one.id for one in store.quarantined(_ALL) if one.id.startswith(start.lower())
    ]
    if len(found) != 1:
        problem = "Nothing" if not found else f"More than one message ({len(found)})"
        raise ConfigError(f"{problem} in quarantine has an id that begins with {start}")
    return found[0]
