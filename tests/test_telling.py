"""What a target is told of an execution, given what it was told before."""

from __future__ import annotations

from collections.abc import Iterable

from flytelineage.entities import (
    Dataset,
    Lineage,
    PipelineId,
    Profile,
    Properties,
    Storage,
    Task,
    Version,
)
from flytelineage.store import Claim
from flytelineage.telling import claims_of, stay
from tests.factories import EXECUTION, NOW

PIPELINE = PipelineId(project="shop", domain="production", name="app.etl")


def lineage(uri: str = "s3://lake/1/") -> Lineage:
    return Lineage(
        execution=EXECUTION,
        revision=1,
        phase="SUCCEEDED",
        started_at=NOW,
        tasks=(Task(pipeline=PIPELINE, name="load", version=Version(version="v1")),),
        datasets=(
            Dataset(
                platform="s3",
                name="lake",
                properties=Properties(name="lake"),
                storage=Storage(uri=uri),
                profile=Profile(rows=7),
            ),
        ),
    )


def to_tell(claims: Iterable[Claim], *aspects: str) -> dict[tuple[str, str], Claim]:
    return {(one.entity, one.aspect): one for one in claims if one.aspect in aspects}


def digests(of: Lineage) -> dict[str, str]:
    return {claim.aspect: claim.digest for claim in claims_of(of, {"datasets"})}


def test_equal_counts_of_other_data_are_news() -> None:
    """A run that wrote as many rows as the last one, to another place, tells so."""
    before, after = digests(lineage("s3://lake/1/")), digests(lineage("s3://lake/2/"))

    assert before["properties"] == after["properties"]
    assert before["profile"] != after["profile"]


def test_equal_counts_of_the_same_data_are_none() -> None:
    assert digests(lineage()) == digests(lineage())


def test_what_was_told_is_left_out() -> None:
    """An aspect that is not to be told is not known; an entity without any goes."""
    whole = lineage()
    claims = claims_of(whole)

    left = stay(whole, claims, to_tell(claims, "storage"))

    assert left.tasks == ()
    assert [list(dict(one.aspects())) for one in left.datasets] == [["storage"]]


def test_what_a_target_does_not_keep_is_told_whole() -> None:
    """A table says which version of a task wrote it, whoever told of the task before."""
    whole = lineage()
    claims = claims_of(whole, {"datasets"})

    left = stay(whole, claims, {}, {"datasets"})

    assert {claim.entity for claim in claims} == {whole.datasets[0].urn}
    assert left.tasks == whole.tasks
    assert left.datasets == ()
