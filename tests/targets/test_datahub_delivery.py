"""DataHubTarget over HTTP: few requests, no bad neighbour, every failure by its class."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flytelineage.entities import (
    Dataset,
    Lineage,
    Pipeline,
    PipelineId,
    Properties,
    Task,
    Version,
)
from flytelineage.errors import ConfigError, TargetUnavailable, TransientTargetError
from flytelineage.options import SecretText
from flytelineage.targets.datahub import DataHubTarget
from flytelineage.testing.datahub import Fault, GmsDouble
from flytelineage.testing.simulator import FolderStorage, simulate
from flytelineage.testing.simulator.__main__ import line
from tests.commands.conftest import START, WORKFLOW
from tests.conftest import Ended, Run
from tests.factories import EXECUTION, NOW
from tests.targets.test_datahub import PIPELINE, lineage

PLATFORM_URN = "urn:li:dataPlatform:flyte"


@pytest.fixture
def gms() -> Iterator[GmsDouble]:
    with GmsDouble() as double:
        yield double


@pytest.fixture
def target(gms: GmsDouble) -> Iterator[DataHubTarget]:
    made = DataHubTarget(server=gms.url, create_platform=False)
    yield made
    made.close()


def datasets(count: int) -> Lineage:
    told = tuple(
        Dataset(platform="s3", name=f"lake/{number:03}", as_of=NOW) for number in range(count)
    )
    return Lineage(execution=EXECUTION, started_at=NOW, datasets=told)


def dataset_urn(number: int) -> str:
    return f"urn:li:dataset:(urn:li:dataPlatform:s3,lake/{number:03},PROD)"


# ------------------------------------------------------------------------ requests


def test_one_request_for_an_execution(gms: GmsDouble) -> None:
    """And none besides: what the platform is called goes with the first."""
    target = DataHubTarget(server=gms.url)

    target.emit(lineage())
    target.emit(lineage())
    target.close()

    first, second = gms.requests
    assert first.proposals == ((PLATFORM_URN, "dataPlatformInfo"), *second.proposals)
    assert len(second.proposals) > 30


@pytest.mark.parametrize(
    ("mode", "asynchronous", "waits_for_search"),
    [("sync", False, False), ("sync_wait", False, True), ("async", True, False)],
)
def test_what_yes_means(
    gms: GmsDouble,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    asynchronous: bool,
    waits_for_search: bool,
) -> None:
    """Stored, indexed as well, or only queued, whatever the environment says."""
    monkeypatch.setenv("DATAHUB_EMIT_MODE", "ASYNC")
    target = DataHubTarget(server=gms.url, emit_mode=mode)

    target.emit(lineage())
    target.close()

    (request,) = gms.requests
    assert request.asynchronous == asynchronous
    assert request.waits_for_search == waits_for_search


def test_by_default_yes_means_stored(gms: GmsDouble, target: DataHubTarget) -> None:
    """Only then may the daemon forget the delivery."""
    target.emit(lineage())

    assert [request.asynchronous for request in gms.requests] == [False]


def test_one_connection(gms: GmsDouble, target: DataHubTarget) -> None:
    """Batches and executions share it."""
    target.batch_size = 10
    target.emit(datasets(30))
    target.emit(lineage())

    assert len(gms.requests) > 3
    assert gms.connections == 1


def test_many_proposals_go_in_batches(gms: GmsDouble, target: DataHubTarget) -> None:
    """In their order, none twice."""
    target.emit(datasets(450))

    assert [len(request.proposals) for request in gms.requests] == [200, 200, 50]
    urns = [urn for request in gms.requests for urn, _ in request.proposals]
    assert urns == [dataset_urn(number) for number in range(450)]


def test_batches_stay_below_the_bytes_that_gms_takes(gms: GmsDouble, target: DataHubTarget) -> None:
    """It takes 16 MB; few proposals may be larger together."""
    text = "x" * 3_000_000
    told = [
        Dataset(platform="s3", name=f"a{n}", as_of=NOW, properties=Properties(description=text))
        for n in range(8)
    ]

    assert target.emit(told) == []

    sizes = [request.body_bytes for request in gms.requests]
    assert len(sizes) == 2
    assert max(sizes) <= 15 * 2**20 + 1000


def test_nothing_to_tell_needs_no_request(gms: GmsDouble) -> None:
    """Not even the platform's."""
    assert DataHubTarget(server=gms.url).emit([]) == []
    assert gms.requests == []


# ---------------------------------------------------------------------- refusals


def test_one_bad_entity_never_takes_neighbours_down(gms: GmsDouble, target: DataHubTarget) -> None:
    """GMS refuses whole batches: they are halved until the culprit stands alone."""
    gms.refuse(dataset_urn(123))

    [rejection] = target.emit(datasets(300))

    assert rejection.entity == "dataset:s3:lake/123"
    assert rejection.reason.startswith("400: ")
    assert dataset_urn(123) in rejection.reason
    assert len(gms.aspects) == 299
    assert len(gms.requests) < 20


@pytest.mark.parametrize(
    "nameless", [{"platform": "s3", "name": ""}, {"platform": "", "name": "x"}], ids=str
)
def test_a_nameless_dataset_is_refused_here(
    gms: GmsDouble, target: DataHubTarget, nameless: dict[str, str]
) -> None:
    """And alone: DataHub's client does not even make its URN."""
    [rejection] = target.emit([Dataset(**nameless), *datasets(1).datasets])

    assert rejection.reason == "the URN has an empty part"
    assert {urn for urn, _ in gms.aspects} == {dataset_urn(0)}


def test_separators_in_a_platform_are_escaped(gms: GmsDouble, target: DataHubTarget) -> None:
    """Or its URN would have a part too many."""
    assert target.emit([Dataset(platform="a,b", name="c", instance="d,e", as_of=NOW)]) == []

    assert {urn for urn, _ in gms.aspects} == {
        "urn:li:dataset:(urn:li:dataPlatform:a%2Cb,d%2Ce.c,PROD)"
    }


def test_a_refusal_names_our_aspect(gms: GmsDouble, target: DataHubTarget) -> None:
    """Aspects that follow from the id alone go by DataHub's name."""
    urn = "urn:li:dataFlow:(flyte,shop.production.app.daily,PROD)"
    gms.refuse(urn, status=422)

    told = Pipeline.of(PIPELINE, properties=Properties(), version=Version(version="v1"))
    rejections = target.emit([told])

    assert {"version", "status"} <= {each.aspect for each in rejections}
    assert {each.entity for each in rejections} == {"pipeline:shop.production.app.daily"}


def test_what_is_too_large_is_divided() -> None:
    """A proxy may take less than GMS."""
    with GmsDouble(max_bytes=4_000) as gms:
        target = DataHubTarget(server=gms.url, create_platform=False)

        rejections = target.emit(datasets(50))
        target.close()

    assert rejections == []
    assert len(gms.aspects) == 50


def test_what_is_too_large_alone_is_refused() -> None:
    """It would never fit."""
    with GmsDouble(max_bytes=10) as gms:
        target = DataHubTarget(server=gms.url, create_platform=False)

        [rejection] = target.emit(datasets(1))
        target.close()

    assert rejection.reason.startswith("413: ")


def test_what_datahub_would_not_understand_is_not_sent(gms: GmsDouble) -> None:
    """It is found by DataHub's own model: the server might say yes and drop it."""
    import datahub.metadata.schema_classes as m

    from flytelineage.targets.datahub.proposals import Subject, faults

    flow = Subject("pipeline:x", "urn:li:dataFlow:(flyte,x,PROD)", NOW)
    sound = flow.upsert(m.StatusClass(removed=False))
    strange = flow.upsert(m.SchemaMetadataClass("x", PLATFORM_URN, 0, "", m.SchemalessClass(), []))
    unfit = flow.upsert(m.DataFlowInfoClass(name="x", env="LIVE"), "properties")

    assert [refusal.proposal for refusal in faults([sound, strange, unfit])] == [strange, unfit]


# ----------------------------------------------------------------- failures by class


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_pauses_the_target(
    gms: GmsDouble, target: DataHubTarget, status: int
) -> None:
    """Nothing can be told until somebody acts; the message says what to do."""
    gms.script(Fault(status=status))

    with pytest.raises(TargetUnavailable, match=r"DataHubTarget\.token"):
        target.emit(lineage())


def test_throttling_says_when_to_come_again(gms: GmsDouble, target: DataHubTarget) -> None:
    """The server's own wish is kept."""
    gms.script(Fault(status=429, retry_after="7"))

    with pytest.raises(TransientTargetError) as caught:
        target.emit(lineage())

    assert caught.value.retry_after == 7
    assert len(gms.requests) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=503),
        Fault(status=500),
        Fault(status=503, retry_after="Fri, 01 May 2026 12:00:00 GMT"),
        Fault(drop=True),
    ],
)
def test_a_server_in_trouble_is_asked_later(
    gms: GmsDouble, target: DataHubTarget, fault: Fault
) -> None:
    """By the daemon: the client itself would block its thread for half a minute."""
    gms.script(fault)

    with pytest.raises(TransientTargetError):
        target.emit(lineage())

    assert len(gms.requests) == 1


def test_telling_again_after_a_lost_answer_changes_nothing(
    gms: GmsDouble, target: DataHubTarget
) -> None:
    """The batch was stored, the answer was not seen."""
    gms.script(Fault(drop=True))
    with pytest.raises(TransientTargetError):
        target.emit(lineage())
    stored = gms.state

    assert target.emit(lineage()) == []
    assert gms.state == stored


def test_a_hanging_server_is_left(gms: GmsDouble) -> None:
    """After the time-out of the option."""
    gms.script(Fault(hang=True))
    target = DataHubTarget(server=gms.url, create_platform=False, timeout_seconds=0.05)

    with pytest.raises(TransientTargetError, match="does not answer: ReadTimeout"):
        target.emit(lineage())
    target.close()


def test_a_server_that_is_not_there() -> None:
    """It may come back."""
    with GmsDouble() as gone:
        pass
    target = DataHubTarget(server=gone.url)

    with pytest.raises(TransientTargetError, match=r"DataHubTarget\.server"):
        target.emit(lineage())


def test_a_redirect_is_not_followed(gms: GmsDouble, target: DataHubTarget) -> None:
    """It would turn the request into a GET that is answered with 200."""
    gms.script(Fault(status=302, location=f"{gms.url}/config"))

    with pytest.raises(TargetUnavailable, match=r"answers 302: DataHubTarget\.server"):
        target.emit(lineage())


@pytest.mark.parametrize("page", ["<html>Please log in</html>", "[]", "null", '{"app": "x"}'])
def test_a_yes_of_something_else_is_no_yes(
    gms: GmsDouble, target: DataHubTarget, page: str
) -> None:
    """A proxy may answer 200 with a login page, today or in the middle of the night."""
    target.emit(datasets(1))
    gms.script(Fault(status=200, text=page))

    with pytest.raises(TargetUnavailable, match=r"is not DataHub's server: DataHubTarget\.server"):
        target.emit(lineage())


@pytest.mark.parametrize("status", [202, 302])
def test_an_answer_without_a_word_is_no_yes(
    gms: GmsDouble, target: DataHubTarget, status: int
) -> None:
    """The client takes whatever is below 400 for success, also a 302 that leads nowhere."""
    target.emit(datasets(1))
    gms.script(Fault(status=status, text=""))

    with pytest.raises(TargetUnavailable, match=r"is not DataHub's server: DataHubTarget\.server"):
        target.emit(lineage())


def test_an_error_that_came_as_success(gms: GmsDouble, target: DataHubTarget) -> None:
    """The answer's own status counts."""
    gms.script(Fault(status=200, text='{"status": 503, "message": "later"}'))

    with pytest.raises(TransientTargetError, match="answers 503"):
        target.emit(lineage())


@pytest.mark.parametrize("status", [400, 404, 405, 407, 415])
def test_something_that_is_not_gms(gms: GmsDouble, target: DataHubTarget, status: int) -> None:
    """What it refuses is not the fault of any entity: nothing is given up, nothing halved."""
    gms.script(Fault(status=status, text="<html>Bad request</html>"))

    with pytest.raises(TargetUnavailable, match=rf"answers {status}: DataHubTarget\.server"):
        target.emit(lineage())

    assert len(gms.requests) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 502, 504])
def test_the_client_never_tries_again_by_itself(
    gms: GmsDouble, target: DataHubTarget, status: int
) -> None:
    """Each answer is the daemon's to judge; nothing waits where nobody sees it."""
    gms.script(Fault(status=status))

    with pytest.raises(TransientTargetError, match=f"answers {status}"):
        target.emit(lineage())

    assert len(gms.requests) == 1


def test_a_failure_in_the_middle_keeps_what_was_stored(
    gms: GmsDouble, target: DataHubTarget
) -> None:
    """The next try tells everything again, to the same end."""
    target.batch_size = 10
    target.close()
    target.emit(datasets(10))
    gms.script(Fault(status=503))
    with pytest.raises(TransientTargetError):
        target.emit(datasets(30))

    target.emit(datasets(30))

    assert len(gms.aspects) == 30


# ------------------------------------------------------------------------ the token


def test_a_new_token_is_taken_without_a_restart(
    gms: GmsDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read at each emission."""
    monkeypatch.setenv("DATAHUB_TOKEN", "old")
    gms.token = "old"
    target = DataHubTarget(server=gms.url, token="env:DATAHUB_TOKEN", create_platform=False)
    target.emit(lineage())

    gms.token = "new"
    with pytest.raises(TargetUnavailable):
        target.emit(lineage())
    monkeypatch.setenv("DATAHUB_TOKEN", "new")

    assert target.emit(lineage()) == []
    target.close()
    assert target.token == SecretText("env:DATAHUB_TOKEN")


@pytest.mark.parametrize("status", [401, 403, 400])
def test_a_platform_that_may_not_be_named_stops_nothing(
    gms: GmsDouble, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """It needs a privilege of its own; without it only the name and logo are missing."""
    gms.refuse(PLATFORM_URN, status=status)
    target = DataHubTarget(server=gms.url)

    with caplog.at_level(logging.WARNING):
        assert target.emit(lineage()) == []
        assert target.emit(lineage()) == []
    target.close()

    assert caplog.text.count("was not told of the platform flyte") == 1
    assert gms.requests[-1].proposals[0][0] != PLATFORM_URN


def test_a_token_that_may_do_nothing_is_no_matter_of_the_platform(
    gms: GmsDouble, caplog: pytest.LogCaptureFixture
) -> None:
    """The target waits for somebody, and the platform is told when it goes on."""
    gms.script(Fault(status=403), Fault(status=403))
    target = DataHubTarget(server=gms.url)
    with caplog.at_level(logging.WARNING), pytest.raises(TargetUnavailable):
        target.emit(lineage())

    target.emit(lineage())
    target.close()

    assert caplog.text == ""
    assert (PLATFORM_URN, "dataPlatformInfo") in gms.aspects


def test_the_platform_is_told_again_if_nobody_answered(gms: GmsDouble) -> None:
    """Perhaps it was lost with the rest."""
    gms.script(Fault(status=503))
    target = DataHubTarget(server=gms.url)
    with pytest.raises(TransientTargetError):
        target.emit(lineage())

    target.emit(lineage())
    target.close()

    assert (PLATFORM_URN, "dataPlatformInfo") in gms.aspects


def test_what_is_forbidden_is_named(gms: GmsDouble, target: DataHubTarget) -> None:
    """DataHub says on which entities the privilege is missing."""
    gms.script(Fault(status=403, message="unauthorized to modify urn:li:dataset:x"))

    with pytest.raises(TargetUnavailable, match=r"DataHub says: unauthorized .*dataset:x"):
        target.emit(lineage())


# ------------------------------------------------------------------ several DataHubs

PAGE = Path(__file__).parents[2] / "docs" / "targets" / "datahub.md"
MORE_OPTIONS = """
c.DataHubTarget.run_history = "off"
c.DataHubTarget.env = "TEST"
c.Stage.env = "DEV"
"""


def several(first: str, second: str) -> str:
    """The configuration that the page shows, with the URLs of two servers."""
    examples = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    (example,) = (each for each in examples if "class Stage" in each)
    for url in (first, second):
        example = re.sub(r"https://[^\"]+", url, example, count=1)
    return f"{example}{MORE_OPTIONS}"


class TestSeveral:
    """A subclass in the configuration is a target of its own."""

    @pytest.fixture
    def replay(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[..., Ended]:
        """Tell both servers of an execution."""
        monkeypatch.setenv("DATAHUB_TOKEN", "a-token")
        monkeypatch.setenv("DATAHUB_STAGE_TOKEN", "another-token")
        storage = FolderStorage(tmp_path / "bucket")
        stream = simulate(WORKFLOW, "a1b2c3", storage, start=START, fast=True)
        messages = "".join(f"{line(body)}\n" for body in stream.bodies())
        (tmp_path / "messages.jsonl").write_text(messages)

        def replay(first: GmsDouble, second: GmsDouble) -> Ended:
            text = several(first.url, second.url)
            (tmp_path / "flytelineage_config.py").write_text(text)
            return run("replay", "messages.jsonl", "--live", "--ObjectReader.allow=file:///*")

        return replay

    def test_each_has_its_options(self, gms: GmsDouble, replay: Callable[..., Ended]) -> None:
        """What its own section leaves open it takes from that of the class below."""
        with GmsDouble() as stage:
            ended = replay(gms, stage)

        assert ended.code == 0
        flows = [
            {urn for urn, _ in each.aspects if "dataFlow:" in urn and "dataJob" not in urn}
            for each in (gms, stage)
        ]
        assert [urn.rpartition(",")[2] for (urn,) in flows] == ["TEST)", "DEV)"]
        assert not [urn for each in (gms, stage) for urn, _ in each.events if "Process" in urn]

    def test_each_has_its_deliveries(self, gms: GmsDouble, replay: Callable[..., Ended]) -> None:
        """One that refuses everything holds up no other."""
        with GmsDouble(token="a token of the future") as stage:
            ended = replay(gms, stage)

        assert ended.code == 1
        assert "Told datahub" in ended.out
        assert "Stage" in ended.out + ended.err
        assert gms.aspects
        assert not stage.aspects


# ---------------------------------------------------------------------------- check


def test_check_changes_nothing(gms: GmsDouble) -> None:
    """It reaches the server with the token."""
    gms.token = "right"
    target = DataHubTarget(server=gms.url, token="right")

    target.check()
    target.close()

    assert gms.requests == []


@pytest.mark.parametrize("token", ["wrong", None])
def test_check_finds_a_wrong_token(gms: GmsDouble, token: str | None) -> None:
    """Before the first delivery does."""
    gms.token = "right"
    target = DataHubTarget(server=gms.url, token=token)

    with pytest.raises(ConfigError, match=r"answers 401: DataHubTarget\.token"):
        target.check()
    target.close()


def test_check_finds_a_server_that_is_not_there() -> None:
    """In one line that names the option."""
    with GmsDouble() as gone:
        pass

    with pytest.raises(ConfigError, match=r"does not answer.*DataHubTarget\.server"):
        DataHubTarget(server=gone.url).check()


def test_hundreds_of_tasks_need_few_requests(gms: GmsDouble, target: DataHubTarget) -> None:
    """A tenth of a request for each task, where one for each proposal is usual."""
    pipeline = PipelineId(project="shop", domain="production", name="wide")
    tasks = tuple(
        Task(pipeline=pipeline, name=f"t{number}", as_of=NOW, version=Version(version="v1"))
        for number in range(100)
    )

    target.emit(Lineage(execution=EXECUTION, started_at=NOW, tasks=tasks))

    assert len(gms.requests) <= 2
