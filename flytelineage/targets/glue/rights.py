"""Which rights the calls to Glue and S3 need, by the target's options; pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from flytelineage.permissions import Statement, of_key, partition
from flytelineage.targets.glue.names import DATABASE_PREFIX
from flytelineage.targets.glue.places import Place

if TYPE_CHECKING:
    from flytelineage.targets.glue.target import GlueCatalogTarget


def needed(target: GlueCatalogTarget, region: str) -> list[Statement]:
    """All statements, of the data apart: copying reads that with the reader's rights."""
    catalogue = Statement("Glue", tuple(_glue(target)), _catalogue(target, region))
    copies = _copies(target, partition(region)) if target.mode == "copy" else ()
    return [catalogue, *copies]


def _glue(target: GlueCatalogTarget) -> Iterator[str]:
    """The actions. Source: docs/targets/glue.md, Permissions."""
    yield from ("glue:GetDatabase", "glue:GetTable", "glue:CreateTable", "glue:UpdateTable")
    if target.create_database:
        yield "glue:CreateDatabase"
        if target.database_tags:
            yield "glue:TagResource"
    if target.layout == "per_execution":
        yield from ("glue:GetPartition", "glue:CreatePartition", "glue:UpdatePartition")
        if target.keep_partitions or target.mode == "copy":
            yield "glue:GetPartitions"
        if target.keep_partitions:
            yield "glue:BatchDeletePartition"


def _catalogue(target: GlueCatalogTarget, region: str) -> tuple[str, ...]:
    owner = target.catalog_id.partition(":")[0] or "*"
    within = f"arn:{partition(region)}:glue:{region or '*'}:{owner}"
    database = target.db_name.lower() or f"{DATABASE_PREFIX}*"
    return f"{within}:catalog", f"{within}:database/{database}", f"{within}:table/{database}/*"


def _copies(target: GlueCatalogTarget, part: str) -> Iterator[Statement]:
    root = Place.folder_of(target.bucket_path)
    bucket = f"arn:{part}:s3:::{root.bucket}"
    yield Statement(
        "Copies",
        ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"),
        (f"{bucket}/{root.key}*",),
    )
    yield Statement("ListCopies", ("s3:ListBucket", "s3:ListBucketMultipartUploads"), (bucket,))
    if target.kms_key_arn:
        # What is copied in parts is read again, encrypted, when the parts are joined.
        actions = ("GenerateDataKey", "Decrypt")
        yield of_key(target.kms_key_arn, actions, sid="CopiesKey", via=("s3",))
