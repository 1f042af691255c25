"""An example: the options that most deployments set. Every line is commented out.

`flytelineage` reads this file from the working directory, or the one that --config names.
`flytelineage --generate-config` writes a file with every option there is, and
`flytelineage check` finds what is wrong with it. A secret is a value, env:NAME or
file:/path; the last two are read when they are used, so that rotation needs no restart.
"""

c = get_config()  # noqa: F821 - given by traitlets

# ------------------------------------------------------------- where events come from

# A name, or a URL for a queue in another account. AWS credentials are found as boto3
# finds them; the README lists the IAM actions.
# c.FlyteLineage.sqs_queue = "flyte-events"
# c.FlyteLineage.aws_region = "us-east-1"

# Globs of project/domain/workflow; a shorter one stands for all that is below it.
# c.FlyteLineage.include = ["*/production"]
# c.FlyteLineage.exclude = ["flytesnacks"]

# Where several Flyte deployments tell one catalogue: the first part of every id. Choose
# it before the first run, it cannot be changed later.
# c.FlyteLineage.instance = "emea"

# True names of workflows, exact edges and lost events; without it names may be guessed.
# The user may read only; what is left out is taken from flytekit's own configuration.
# c.FlyteAdmin.endpoint = "dns:///flyte.example.com"
# c.FlyteAdmin.client_id = "flytelineage"
# c.FlyteAdmin.client_secret = "env:FLYTE_SECRET"

# ------------------------------------------------------------------ where lineage goes

# Names of installed targets: file, datahub, glue; or dotted paths to classes.
# c.FlyteLineage.targets = ["datahub", "glue"]

# Look first: lineage is built and held, `flytelineage retry --held` sends it.
# c.FlyteLineage.emit = False

# c.DataHubTarget.server = "http://datahub-gms:8080"
# c.DataHubTarget.token = "env:DATAHUB_TOKEN"
# c.DataHubTarget.env = "PROD"

# One database for all tables, instead of flyte_<domain>_<project>.
# c.GlueCatalogTarget.db_name = "lake"

# c.FileTarget.path = "lineage.jsonl"

# A second catalogue of the same kind: a subclass has a section of its own.
#
# from flytelineage.targets.datahub import DataHubTarget
#
# class StagingDataHub(DataHubTarget):
#     """DataHub for those who work on it."""
#
# c.FlyteLineage.targets = ["datahub", StagingDataHub]
# c.StagingDataHub.server = "http://datahub-staging:8080"

# ------------------------------------------------------------------- where state lies

# A directory on a local disk that survives a restart; it holds one SQLite file.
# c.FlyteLineage.state_dir = "/var/lib/flytelineage"

# Several replicas share a PostgreSQL.
# c.Store.url = "env:FLYTELINEAGE_STORE_URL"

# -------------------------------------------------------------------------------- logs

# c.FlyteLineage.log_level = "DEBUG"
