"""flytelineage in one pod, with a SQLite store on its volume."""

c = get_config()  # noqa: F821 - given by traitlets

c.FlyteLineage.sqs_queue = "flyte-events"  # CHANGE
c.FlyteLineage.aws_region = "eu-central-1"  # CHANGE
c.FlyteLineage.targets = ["datahub", "glue"]  # CHANGE
c.FlyteLineage.log_json = True

c.ObjectReader.allow = ["s3://flyte-bucket/*"]  # CHANGE

# A file is read each time that it is used: rotate the secret, and restart nothing.
c.DataHubTarget.server = "http://datahub-datahub-gms.datahub.svc:8080"  # CHANGE
c.DataHubTarget.token = "file:/etc/flytelineage-secrets/datahub-token"  # noqa: S105 - a path
