"""The AWS Glue Data Catalog as a target: a table for each dataset that a task wrote.

Data is described where the task wrote it, or copied by S3 itself first. No file is read:
all that Glue is told stands in the entities.
"""

from flytelineage.targets.glue.target import GlueCatalogTarget

__all__ = ["GlueCatalogTarget"]
