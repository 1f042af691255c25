"""Catalogues that are down, slow or refuse: others go on, and in the end all is told."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from flytelineage.testing.aws import LocalAws
from flytelineage.testing.datahub import Fault
from flytelineage.testing.simulator import S3Storage
from tests.end_to_end.checks import check, check_store, differences
from tests.end_to_end.corpus import Corpus, backlog
from tests.end_to_end.deployment import Deployment
from tests.end_to_end.points import some_long

pytestmark = pytest.mark.processes

NIGHTS = 12
OTHERS = ("file", "glue")
EDGES = "dataJobInputOutput"
CAP = 0.05
"""Seconds that stand for the five minutes between two looks at a target that is down."""

CAPS_PER_DAY = 288


@pytest.fixture
def nights(aws: LocalAws) -> Corpus:
    return backlog(S3Storage(aws.client("s3")), NIGHTS)


def hurry(deployment: Deployment) -> None:
    """Let a day of a target that is down last for some seconds."""
    deployment.options |= {"Daemon.retry_seconds": 0.01, "Daemon.max_retry_seconds": CAP}


@pytest.mark.long
def test_target_is_down_for_a_day(on_sqlite: Deployment, nights: Corpus) -> None:
    """The others are told at once; it is looked at now and then, and told the newest at last."""
    hurry(on_sqlite)
    on_sqlite.gms.break_down(Fault(503))
    daemon = on_sqlite.start()

    for bodies in nights.executions:
        on_sqlite.queue.send(bodies)
        on_sqlite.wait_for(lambda: on_sqlite.told_all(*OTHERS))
    day_long = _looks(on_sqlite, seconds=CAP * CAPS_PER_DAY)
    before = len(on_sqlite.gms.bodies)
    on_sqlite.gms.mend()
    on_sqlite.drain()
    after = on_sqlite.gms.bodies[before:]

    assert on_sqlite.end(daemon) == 0
    check_store(on_sqlite, nights, rubbish=())
    # Pauses are drawn from between half of the cap and all of it.
    assert 10 < day_long <= 2 * CAPS_PER_DAY + 10
    assert f"night-{NIGHTS - 1:03}" in str(on_sqlite.gms.aspects[_job("load"), EDGES])
    # Some of them again: nobody knows what the target took of those that failed before.
    told = list(_told(after, _job("clean"), EDGES))
    assert 1 <= len(told) <= NIGHTS
    assert all(edges == told[0] for edges in told)
    assert len(_runs(on_sqlite)) == NIGHTS
    assert len(after) <= 3 * NIGHTS


def _looks(deployment: Deployment, *, seconds: float) -> int:
    """How often DataHub is asked in so many seconds."""
    requests, began = deployment.gms.requests, len(deployment.gms.requests)
    deployment.wait_for(lambda: len(requests) > began)
    first = requests[began].at
    deployment.wait_for(lambda: requests[-1].at - first >= seconds)
    return len(requests) - began


def _job(task: str) -> str:
    flow = "urn:li:dataFlow:(flyte,shop.production.shop.nightly,PROD)"
    return f"urn:li:dataJob:({flow},shop.nightly.{task})"


def _told(bodies: Iterable[bytes], urn: str, aspect: str) -> Iterator[set[str]]:
    """The changes of an aspect that were sent together."""
    for body in bodies:
        for proposal in json.loads(body)["proposals"]:
            if (proposal["entityUrn"], proposal["aspectName"]) == (urn, aspect):
                yield {json.dumps(change) for change in json.loads(proposal["aspect"]["value"])}


def _runs(deployment: Deployment) -> list[str]:
    """The executions that DataHub knows."""
    return [
        value["name"]
        for (_, aspect), value in deployment.gms.aspects.items()
        if aspect == "dataProcessInstanceProperties" and value["name"].startswith("night-")
    ]


def _slow(deployment: Deployment) -> Callable[[], None]:
    gate = deployment.gate("datahub")
    gate.delay_seconds = 0.3
    return lambda: setattr(gate, "delay_seconds", 0)


def _hanging(deployment: Deployment) -> Callable[[], None]:
    deployment.options["DataHubTarget.timeout_seconds"] = 0.3
    gate = deployment.gate("datahub")
    gate.hanging = True
    return lambda: setattr(gate, "hanging", False)


def _shut(deployment: Deployment) -> Callable[[], None]:
    gate = deployment.gate("datahub")
    gate.shut()
    return gate.open


@pytest.mark.parametrize("fault", some_long([_slow, _hanging, _shut], kept=[1]))
def test_target_that_does_not_answer_delays_no_other(
    fault: Callable[[Deployment], Callable[[], None]],
    on_sqlite: Deployment,
    messages: Corpus,
    calm_state: dict[str, Any],
) -> None:
    """Neither what is taken in, nor what other catalogues are told."""
    hurry(on_sqlite)
    mend = fault(on_sqlite)
    daemon = on_sqlite.start()
    on_sqlite.queue.send(messages.calm)

    on_sqlite.wait_for(lambda: on_sqlite.told_all(*OTHERS))
    waiting = on_sqlite.rows("SELECT 1 FROM delivery WHERE target = 'datahub' AND due_at > 0")
    mend()
    on_sqlite.drain()

    assert waiting
    assert on_sqlite.end(daemon) == 0
    check(on_sqlite, messages, calm_state)


def test_target_takes_what_it_was_sent_and_hangs_up(
    seed: int, on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """What it is told again it has already, under the same keys."""
    hurry(on_sqlite)
    numbers = random.Random(seed)
    for _ in range(8):
        on_sqlite.gms.script(*[Fault(drop=True)] * numbers.randint(0, 1), Fault(503))
    daemon = on_sqlite.start()
    on_sqlite.queue.send(messages.calm)
    on_sqlite.drain()

    assert on_sqlite.end(daemon) == 0
    check(on_sqlite, messages, calm_state)


def test_entity_that_is_refused_takes_no_other_with_it(
    on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """The store has the reason; all else is in the catalogues."""
    bad = "urn:li:dataset:(urn:li:dataPlatform:s3,shop-lake/daily,PROD)"
    on_sqlite.gms.refuse(bad)
    daemon = on_sqlite.start()
    on_sqlite.queue.send(messages.calm)
    on_sqlite.drain()

    assert on_sqlite.end(daemon) == 0
    check_store(on_sqlite, messages)
    missing = differences(calm_state, on_sqlite.told())
    assert missing
    assert all(bad in line and line.endswith("became nothing") for line in missing), missing
    refused = on_sqlite.rows("SELECT rejections FROM delivery WHERE rejections IS NOT NULL")
    assert all("refused: " in rejections for (rejections,) in refused)


def test_token_is_refused_until_its_file_is_renewed(
    on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """Nobody restarts anything, and no delivery is charged with a try."""
    hurry(on_sqlite)
    token = on_sqlite.folder / "token"
    token.write_text("expired")
    on_sqlite.gms.token = "renewed"
    on_sqlite.options["DataHubTarget.token"] = f"file:{token}"
    daemon = on_sqlite.start()
    on_sqlite.queue.send(messages.calm)

    on_sqlite.wait_for(lambda: on_sqlite.told_all(*OTHERS) and "401" in daemon.log)
    charged = on_sqlite.rows("SELECT max(attempts) FROM delivery WHERE target = 'datahub'")
    token.write_text("renewed")
    on_sqlite.drain()

    assert charged[0][0] <= 1  # the one that is under way
    assert on_sqlite.end(daemon) == 0
    assert "renewed" not in daemon.log
    check(on_sqlite, messages, calm_state)


@pytest.mark.long
def test_target_says_when_it_wants_to_be_asked_again(
    on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """It is not asked before, on behalf of no execution."""
    hurry(on_sqlite)
    on_sqlite.gms.script(*[Fault(429, retry_after="1")] * 3)
    daemon = on_sqlite.start()
    on_sqlite.queue.send(messages.calm)
    on_sqlite.drain()

    assert on_sqlite.end(daemon) == 0
    times = [request.at for request in on_sqlite.gms.requests[:4]]
    assert min(later - earlier for earlier, later in pairwise(times)) >= 1
    check(on_sqlite, messages, calm_state)


@pytest.mark.long
def test_plugin_that_raises_harms_nobody(
    on_sqlite: Deployment, messages: Corpus, calm_state: dict[str, Any]
) -> None:
    """It is tried a number of times and given up, with the traceback in the log."""
    hurry(on_sqlite)
    plugin = "tests.end_to_end.plugins.RaisingTarget"
    on_sqlite.options["FlyteLineage.targets"] = f"file,datahub,glue,{plugin}"
    daemon = on_sqlite.start()
    on_sqlite.queue.send(messages.calm)
    on_sqlite.drain()

    assert on_sqlite.end(daemon) == 0
    outcomes = on_sqlite.rows("SELECT target, state, attempts FROM delivery")
    raised = {(state, tries) for name, state, tries in outcomes if "plugins" in name}
    assert raised == {("given_up", 20)}
    assert 'raise ZeroDivisionError("a plugin that is no good")' in daemon.log
    check(on_sqlite, messages, calm_state)
