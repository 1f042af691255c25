"""The trial: a local AWS, a PostgreSQL, and files instead of a DataHub."""

c = get_config()  # noqa: F821 - given by traitlets

c.FlyteLineage.sqs_queue = "flytelineage"
c.FlyteLineage.targets = ["file", "datahub", "glue"]
c.Store.url = "env:STORE_URL"

# A file for each execution. To see it in a DataHub of yours on this machine:
# c.DataHubTarget.server = "http://host.docker.internal:8080"
c.DataHubTarget.file = "datahub/"
