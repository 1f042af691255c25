"""What DataHub's Airflow plugin emits for one run of a DAG, with DataHub's own classes.

The plugin itself is not needed: its listener does nothing but emit what these entities of
acryl-datahub generate, one request for each proposal, in this order. With its defaults, one
input and one output for each task, and no tags, that is T * T + 30 * T for T tasks.

Source: datahub-project/datahub, metadata-ingestion-modules/airflow-plugin,
airflow3/datahub_listener.py: on_task_instance_running, on_dag_start,
on_task_instance_finish.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import datahub.metadata.schema_classes as m
from datahub.api.entities.datajob import DataFlow, DataJob
from datahub.api.entities.dataprocess.dataprocess_instance import (
    DataProcessInstance,
    InstanceRunResult,
)
from datahub.emitter.mcp import MetadataChangeProposalWrapper
from datahub.metadata.urns import DatasetUrn

Proposals = Iterator[MetadataChangeProposalWrapper]

STARTED = 1_767_225_600_000
"""Milliseconds since 1970."""


def proposals(tasks: int) -> Proposals:
    """Every proposal of a run in which each task reads what the one before it wrote."""
    flow = DataFlow(id="etl", orchestrator="airflow", env="PROD", owners={"ada"})
    jobs = [_job(flow, number) for number in range(tasks)]
    for job in jobs:
        run = DataProcessInstance.from_datajob(
            job, id=f"etl_{job.id}_run", clone_inlets=True, clone_outlets=True
        )
        yield from _on_running(flow, jobs, job, run)
        yield from _on_finish(job, run)


def _job(flow: DataFlow, number: int) -> DataJob:
    return DataJob(
        id=f"t{number}",
        flow_urn=flow.urn,
        owners={"ada"},
        inlets=[DatasetUrn("s3", f"lake/t{number - 1}/o0", "PROD")],
        outlets=[DatasetUrn("s3", f"lake/t{number}/o0", "PROD")],
    )


def _on_running(
    flow: DataFlow, jobs: Sequence[DataJob], job: DataJob, run: DataProcessInstance
) -> Proposals:
    yield from _on_dag_start(flow, jobs)
    for proposal in job.generate_mcp():
        if not isinstance(proposal.aspect, m.DataJobInputOutputClass):
            yield proposal
    yield from run.generate_mcp(created_ts_millis=STARTED, materialize_iolets=True)
    yield from run.start_event_mcp(STARTED, attempt=1)
    for outlet in job.outlets:
        yield _about(outlet, _operation())


def _on_dag_start(flow: DataFlow, jobs: Sequence[DataJob]) -> Proposals:
    """Once more for each task that starts: the flow, and that all of its jobs exist."""
    yield from flow.generate_mcp()
    for entity in (flow, *jobs):
        yield _about(entity.urn, m.StatusClass(removed=False))
    yield _about(flow.urn, m.BrowsePathsV2Class(path=[m.BrowsePathEntryClass(id=flow.id)]))


def _on_finish(job: DataJob, run: DataProcessInstance) -> Proposals:
    yield from job.generate_mcp()
    yield from run.end_event_mcp(STARTED + 1000, InstanceRunResult.SUCCESS)
    yield from run.generate_inlet_outlet_mcp(materialize_iolets=False)


def _operation() -> m.OperationClass:
    return m.OperationClass(
        timestampMillis=STARTED,
        operationType=m.OperationTypeClass.CREATE,
        lastUpdatedTimestamp=STARTED,
        actor="urn:li:corpuser:airflow",
    )


def _about(urn: object, aspect: m._Aspect) -> MetadataChangeProposalWrapper:
    return MetadataChangeProposalWrapper(entityUrn=str(urn), aspect=aspect)
