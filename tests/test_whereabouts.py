"""`status EXECUTION` says in plain sentences why it is, or is not, at each target."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from flytelineage.entities import ExecutionId, PipelineId
from flytelineage.explain import Whereabouts, as_json, whereabouts
from flytelineage.explain.page import moment
from flytelineage.store import Paused, Standing, Told

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=timezone.utc)
BEFORE, AFTER = NOW - timedelta(minutes=5), NOW + timedelta(minutes=5)
EXECUTION = ExecutionId(project="shop", domain="production", name="a1")
BUILT = Standing(
    at=NOW,
    pipeline=PipelineId(project="shop", domain="production", name="app.etl"),
    terminal_at=BEFORE,
    phase="SUCCEEDED",
    built_at=BEFORE,
    current=True,
)


def text(standing: Standing | None, **values: Any) -> str:
    """The page in one line, so that no test depends on its width."""
    of = Whereabouts(EXECUTION, standing, **{"targets": ("datahub",), **values})
    return " ".join(" ".join(whereabouts(of)).split())


def told(state: Any = "due", **values: Any) -> str:
    """The page of an execution that was built, with one delivery."""
    return text(replace(BUILT, deliveries=(Told("datahub", state, **values),)))


class TestInTheStore:
    """Before any target can hear of it."""

    def test_never_heard_of(self) -> None:
        """It says where else its events may be."""
        said = text(None)

        assert "The store knows no event of it" in said
        assert "quarantine" in said
        assert "event_publish_errors" in said
        assert "At the targets" not in said

    def test_not_wanted(self) -> None:
        """Nothing else is to be looked for then."""
        said = text(None, taken=False)

        assert "FlyteLineage.include and exclude leave out shop/production" in said
        assert "quarantine" not in said

    @pytest.mark.parametrize(
        ("standing", "said"),
        [
            (
                Standing(at=NOW, due_at=AFTER),
                "No event says yet that it has ended. It was not built yet. It will be built, "
                f"unless an event comes before, at {moment(AFTER)}.",
            ),
            (
                Standing(at=NOW, terminal_at=BEFORE, due_at=AFTER),
                f"The event that ends it was stored on {moment(BEFORE)}. It was not built yet. "
                f"It will be built at {moment(AFTER)}.",
            ),
            (
                Standing(at=NOW, terminal_at=BEFORE, due_at=BEFORE),
                f"It is due to be built since {moment(BEFORE)}, and no process has come to it",
            ),
            (
                Standing(at=NOW, terminal_at=BEFORE, due_at=BEFORE, lease_until=AFTER),
                "It is being built just now; the process that builds it has until "
                f"{moment(AFTER)}.",
            ),
            (
                Standing(at=NOW, due_at=AFTER, attempts=3, waits_for="FlyteAdmin: it is away"),
                "It waits for FlyteAdmin: it is away. Since it was last built it was begun 3 times.",
            ),
            (
                Standing(at=NOW, due_at=AFTER, attempts=3, lost=3),
                "Building it was begun 3 times in a row by processes that said no more",
            ),
        ],
    )
    def test_not_built_yet(self, standing: Standing, said: str) -> None:
        """What it waits for, and until when; every target waits for it."""
        assert said in text(standing)
        assert text(standing).endswith("datahub It is told after it is built.")

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({}, f"It was built on {moment(BEFORE)}, from all of its events, as SUCCEEDED."),
            ({"current": False}, "and events came since, as SUCCEEDED."),
            ({"phase": "FAILED"}, "Edges and datasets are told only of executions that succeed."),
            ({"pipeline": None}, "Nothing names its pipeline, so targets hear nothing of it."),
            ({"partial": True}, "Events of it are missing, so edges may be missing, too."),
            (
                {"incomplete": tuple(f"s3://b/{number}: denied" for number in range(7))},
                "It is not known in full: s3://b/4: denied And 2 more things could not be read.",
            ),
            ({"awaits": ("s3://b/x",)}, "Nobody has registered yet what it read: s3://b/x"),
            (
                {"awaits": ("pipeline:shop.production.etl",)},
                "The name of its pipeline, shop.production.etl, is a guess: targets hear of it once "
                "an execution of that pipeline has succeeded.",
            ),
            ({"due_at": AFTER}, f"It will be built again at {moment(AFTER)}."),
            (
                {"due_at": AFTER, "waits_for": "an object store does not answer"},
                "It was put off: an object store does not answer.",
            ),
            (
                {"archived_at": BEFORE},
                f"Its events were removed on {moment(BEFORE)}: it is built no more.",
            ),
        ],
    )
    def test_built(self, values: dict[str, Any], said: str) -> None:
        """And what may be missing from it."""
        assert said in text(replace(BUILT, **values))


class TestAtTheTargets:
    """Once it was built."""

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"due_at": BEFORE}, f"It waits for its turn since {moment(BEFORE)}"),
            (
                {"due_at": BEFORE, "lease_until": AFTER},
                "It is being told just now; the process that tells it has until",
            ),
            (
                {"due_at": AFTER, "attempts": 2, "error": "503: busy", "error_at": BEFORE},
                f"It failed 2 times, and is tried next at {moment(AFTER)}. The last try on "
                f"{moment(BEFORE)} said: 503: busy",
            ),
            (
                {"due_at": BEFORE, "paused": Paused("401: expired", BEFORE, AFTER)},
                f"The target is paused since {moment(BEFORE)} and asked again at {moment(AFTER)}: "
                "401: expired",
            ),
            ({"due_at": AFTER, "lost": 3}, "Telling it was begun 3 times in a row by processes"),
        ],
    )
    def test_due(self, values: dict[str, Any], said: str) -> None:
        """Why it was not told yet, and when it will be."""
        assert said in told(**values)

    @pytest.mark.parametrize(
        ("state", "values", "said"),
        [
            ("delivered", {"settled_at": BEFORE}, f"It was delivered on {moment(BEFORE)}."),
            (
                "delivered",
                {"settled_at": BEFORE, "overtaken": True},
                "Newer executions have told all of it since, except for its runs.",
            ),
            (
                "delivered",
                {"settled_at": BEFORE, "rejections": ("task:t: too long",)},
                f"It was delivered on {moment(BEFORE)}, in part. The target refused task:t: too "
                "long Once that is repaired, `flytelineage retry --target=datahub "
                "--execution=shop/production/a1 --state=delivered` tells it again.",
            ),
            (
                "delivered",
                {"settled_at": BEFORE, "rejections": tuple(f"task:{n}: no" for n in range(9))},
                "The target refused task:4: no And it refused 4 things more: --json lists all.",
            ),
            (
                "delivered",
                {"settled_at": BEFORE, "dropped": True},
                f"One of FlyteLineage.transforms dropped it on {moment(BEFORE)}.",
            ),
            (
                "held",
                {},
                "`flytelineage retry --target=datahub --execution=shop/production/a1 --held`",
            ),
            (
                "given_up",
                {"settled_at": BEFORE, "attempts": 1, "error": "400: too large"},
                f"It was given up on {moment(BEFORE)}, after 1 attempt: `flytelineage retry "
                "--target=datahub --execution=shop/production/a1` tries anew. The last try said: "
                "400: too large",
            ),
        ],
    )
    def test_settled(self, state: str, values: dict[str, Any], said: str) -> None:
        """What became of it, and what can be done."""
        assert said in told(state, **values)

    def test_a_target_that_is_new(self) -> None:
        """It starts with what is built after it appeared, unless somebody asks."""
        heard = replace(BUILT, deliveries=(Told("glue", "delivered", settled_at=BEFORE),))

        said = text(heard, targets=("glue", "datahub"))

        assert "It was built before this target was configured" in said
        assert "--target=datahub --since=2026-05-01 --execution=shop/production/a1`" in said

    def test_nothing_to_tell(self) -> None:
        """As of a guess that nobody confirmed."""
        assert "As it was built there was nothing to tell" in text(BUILT)

    def test_an_excluded_workflow(self) -> None:
        """The operator decided so."""
        said = text(BUILT, told=False)

        assert "FlyteLineage.include and exclude leave out its pipeline" in said
        assert "nothing to tell" not in said

    def test_a_target_of_yesterday(self) -> None:
        """What was due there waits for ever, and is shown."""
        heard = replace(BUILT, deliveries=(Told("glue", "due", due_at=BEFORE),))

        assert "glue This target is not configured any more. It waits" in text(heard)

    def test_no_target_at_all(self) -> None:
        """Then there is nobody to tell."""
        assert "no target is configured" in text(BUILT, targets=())


def test_a_terminal_obeys_nothing_that_others_wrote() -> None:
    """An error is the answer of a server, a reason holds names of nodes."""
    assert "\x1b" not in told(error="\x1b[2J\nIt was delivered", due_at=AFTER)


def test_as_json() -> None:
    """The sentences, and the values that they are made of."""
    heard = replace(
        BUILT, deliveries=(Told("datahub", "due", attempts=2, due_at=AFTER, error="503"),)
    )

    said = as_json(Whereabouts(EXECUTION, heard, targets=("datahub", "glue")))

    assert said == json.loads(json.dumps(said))
    assert (said["stored"], said["phase"]) == (True, "SUCCEEDED")
    datahub, glue = said["targets"]["datahub"], said["targets"]["glue"]
    assert (datahub["state"], datahub["attempts"], datahub["error"]) == ("due", 2, "503")
    assert datahub["due"] == AFTER.isoformat()
    assert datahub["why"][-1] == "The last try said: 503"
    assert glue["state"] is None


def test_as_json_of_what_is_not_stored() -> None:
    """A script need not read sentences to know that."""
    said = as_json(Whereabouts(EXECUTION, None))

    assert said["stored"] is False
    assert "targets" not in said
