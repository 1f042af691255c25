"""The AWS Glue Data Catalog as a target: a table for each Parquet dataset.

Data is registered where the task wrote it. Nothing is copied and no file is read: all
that Glue is told stands in the entities.
"""

from flytelineage.targets.glue.target import GlueCatalogTarget

__all__ = ["GlueCatalogTarget"]
