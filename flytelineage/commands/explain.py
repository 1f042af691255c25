"""`flytelineage explain`: why a dataset has its name, and an execution its edges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from traitlets import Bool, Integer, Unicode

from flytelineage.commands import Command, Program, events_are_gone, execution_id, say
from flytelineage.errors import ConfigError, ReadError

if TYPE_CHECKING:
    from flytelineage.builder import LineageBuilder
    from flytelineage.collect import Collector, Pinned, Reader
    from flytelineage.dataset_names import Names
    from flytelineage.entities import ExecutionId
    from flytelineage.events import Event
    from flytelineage.explain import Case, Registry
    from flytelineage.store import Standing, Store
    from flytelineage.uris import RawOutput

_NO_STORE = "there is no store here; run this where the daemon runs"


class Explain(Command):
    """Says why a dataset has its name, or why an execution has its edges.

    URI is that of data, an absolute path or a reference to a table: each rule that was
    tried is told, and of what Flyte's tasks write who registered it and who waits for it.
    EXECUTION is project/domain/name: what its end, its name and each edge rest on, and what
    is missing, waiting or guessed. It decides anew, from the events that are stored and with
    the options of this configuration, reads inputs and outputs as the daemon does, and
    changes nothing; a daemon may be running meanwhile.
    """

    usage = "URI|EXECUTION"
    examples = """
        flytelineage explain s3://lake/orders/dt=2026-01-31/part-0.parquet
        flytelineage explain shop/production/f1a2b3
        flytelineage explain shop/production/f1a2b3 --task=clean_orders
    """

    task = Unicode(
        "",
        help="""
        Only this task of an execution: its name, the last part of it, or the id of a node.
        Empty explains the whole execution.

        Example: flytelineage explain shop/production/f1a2b3 --task=clean_orders
        """,
    ).tag(config=True)

    limit = Integer(
        20,
        min=0,
        help="""
        How many tasks are shown, and of each how many nodes, reads and so on. 0 shows all.

        Example: flytelineage explain shop/production/f1a2b3 --limit=0
        """,
    ).tag(config=True)

    offline = Bool(
        False,
        help="""
        Read nothing from object stores: inputs and outputs are known only where the events
        hold them. Needed where the bucket cannot be reached.

        Example: flytelineage explain shop/production/f1a2b3 --offline
        """,
    ).tag(config=True)

    aliases = {
        "task": ("Explain.task", "only this task of an execution"),
        "limit": ("Explain.limit", "how many of a kind are shown, 20 by default; 0 for all"),
    }
    flags = {"offline": ({"Explain": {"offline": True}}, "read nothing from object stores")}

    def run(self, program: Program, arguments: Sequence[str]) -> int:
        """Print it.

        Raises:
            ConfigError: It is neither, or the store has no event of the execution.
        """
        wanted = self.one(arguments)
        lines = (
            self._execution(program, execution_id(wanted, program.instance))
            if _is_execution(wanted, program.instance)
            else self._uri(program, wanted)
        )
        for line in lines:
            say(line)
        return 0

    # ----------------------------------------------------------------------- URI

    def _uri(self, program: Program, uri: str) -> list[str]:
        from flytelineage.builder import LineageBuilder
        from flytelineage.explain import explain_uri
        from flytelineage.uris import raw_output

        names, raw = LineageBuilder(parent=self).names, raw_output(uri)
        if raw is None:
            _require_a_place(uri, names)
        if raw is None or program.store_is_new():
            return explain_uri(uri, names, None, _NO_STORE)
        with program.opened_store() as store:
            return explain_uri(uri, names, self._registry(store, raw), "")

    def _registry(self, store: Store, raw: RawOutput) -> Registry:
        from flytelineage.explain import MAX_WRITERS, Registry
        from flytelineage.uris import possible_writers

        found = store.registrations([raw.key]).get(raw.key)
        if found is not None:
            return Registry(found)
        named = store.named(possible_writers(raw.owner), MAX_WRITERS)
        return Registry(
            awaited=store.awaited(raw.key, self.limit or 1_000_000),
            writers={id: at for id in named if (at := store.standing(id))},
        )

    # ----------------------------------------------------------------- execution

    def _execution(self, program: Program, execution: ExecutionId) -> list[str]:
        from flytelineage.builder import LineageBuilder
        from flytelineage.collect import Collector
        from flytelineage.explain import explain_execution
        from flytelineage.objects import ObjectReader
        from flytelineage.scope import Scope

        with program.opened_store() as store:
            case = case_of(
                execution,
                store,
                reader=NoReader() if self.offline else ObjectReader(parent=self),
                collector=Collector(parent=self),
                builder=LineageBuilder(parent=self),
            )
        pipeline = case.collected.pipeline
        case = replace(
            case,
            admin=_admin(program),
            told=pipeline is None or Scope(program.include, program.exclude).emits(pipeline),
            limit=self.limit,
        )
        return explain_execution(case, task=self.task)


def case_of(
    execution: ExecutionId,
    store: Store,
    *,
    reader: Reader,
    collector: Collector,
    builder: LineageBuilder,
) -> Case:
    """Everything that a daemon would know of an execution if it built now.

    Raises:
        ConfigError: The store has no event of it, or none any more.
    """
    from flytelineage.consult import questions
    from flytelineage.explain import Case
    from flytelineage.fold import fold
    from flytelineage.structure import missing_events

    standing = store.standing(execution)
    if standing is None:
        raise ConfigError(
            f"The store has no event of {execution}. For a file type its absolute path, for "
            "other data a URI"
        )
    if standing.archived_at is not None:
        raise events_are_gone(execution, standing.archived_at)
    kinds: Counter[str] = Counter()
    facts = fold(execution, _counted(store.events(execution), kinds))
    collected = collector.collect(
        facts,
        store,
        reader,
        pinned=_pinned(standing),
        now=datetime.now(timezone.utc),
        patient=False,
    )
    open_ends = [one.key for one in questions(facts, lost=bool(missing_events(facts)))]
    return Case(
        facts=facts,
        collected=collected,
        build=builder.build(facts, collected),
        rules=builder.rules,
        events=kinds,
        standing=standing,
        registrations=store.registrations(collected.locations),
        asked=store.asked(open_ends),
        kept=frozenset(store.kept(open_ends)),
    )


class NoReader:
    """Reads no object."""

    def read(self, uri: str) -> bytes:
        """Say why not."""
        raise ReadError("not allowed", f"{uri} was not read: --offline")


def _is_execution(text: str, instance: str) -> bool:
    """Whether a text is project/domain/name; a path begins with a slash, a URI has a scheme."""
    from flytelineage.uris import place_of

    if place_of(text) is not None:
        return False
    parts = text.rstrip("/").split("/")
    return all(parts) and (len(parts) == 3 or (len(parts) == 4 and parts[0] == instance))


def _require_a_place(text: str, names: Names) -> None:
    """See that a text is a URI, a path, or what the operator's own rules name.

    Raises:
        ConfigError: It is none of these.
    """
    from flytelineage.uris import place_of

    if place_of(text) is None and names.dataset_id(text) is None:
        raise ConfigError(
            f"{text!r} is neither data nor an execution: type a URI such as s3://bucket/key or "
            "bq://project/dataset/table, an absolute path, or an execution as "
            "project/domain/name"
        )


def _counted(events: Iterator[Event], kinds: Counter[str]) -> Iterator[Event]:
    """The events, while they are counted by kind."""
    for event in events:
        kinds[event.kind] += 1
        yield event


def _pinned(standing: Standing) -> Pinned | None:
    from flytelineage.collect import Pinned

    if standing.pipeline is None or standing.name_source is None:
        return None
    return Pinned(standing.pipeline, standing.name_source)


def _admin(program: Program) -> str:
    admin = program.build_admin()
    return str(admin.endpoint or admin.config_file) if admin else ""
