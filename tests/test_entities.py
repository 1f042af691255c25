from __future__ import annotations

import pytest

from flytelineage.entities import Dataset, Lineage, Profile, Run, Storage
from tests.factories import EXECUTION


def test_aspects_of_one_dataset_are_united():
    """The later word wins, and what it leaves out stays."""
    known = Dataset(platform="s3", name="lake", profile=Profile(rows=1))
    storage = Storage(uri="s3://lake")
    newer = Dataset(platform="s3", name="lake", profile=Profile(rows=2), storage=storage)

    assert Lineage.of([known, newer]).datasets == (newer,)
    assert Lineage.of([newer, known]).datasets[0].storage == storage


def test_a_run_is_what_was_told_of_it_last():
    began, ended = (Run(execution=EXECUTION, phase=phase) for phase in ("RUNNING", "SUCCEEDED"))

    assert Lineage.of([began, ended]).runs == (ended,)


def test_different_entities_are_not_merged():
    with pytest.raises(ValueError, match="different entities"):
        Run(execution=EXECUTION).merged(Run(execution=EXECUTION, node="n0"))
