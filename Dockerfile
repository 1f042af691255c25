# syntax=docker/dockerfile:1
# The steps are those that `make` and .ci/run prove: a virtual environment, the pinned
# requirements, the package.

# What .ci/run tests with.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/flytelineage
WORKDIR /src
# Requirements first: they change seldom, so this layer is usually cached.
COPY requirements.txt ./
RUN /opt/flytelineage/bin/pip install -r requirements.txt
COPY setup.py pyproject.toml LICENSE ./
COPY flytelineage ./flytelineage
RUN /opt/flytelineage/bin/pip install --no-deps .


FROM python:${PYTHON_VERSION}-slim

LABEL org.opencontainers.image.title="flytelineage" \
      org.opencontainers.image.description="Data lineage for Flyte" \
      org.opencontainers.image.licenses="Apache-2.0"

# A number, so that Kubernetes can check runAsNonRoot. State belongs to it before it
# becomes a volume: a named volume takes over the owner.
RUN groupadd --gid 10001 flytelineage \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/flytelineage \
       --shell /usr/sbin/nologin flytelineage \
    && install -d -o 10001 -g 10001 -m 0750 /var/lib/flytelineage
COPY --from=build /opt/flytelineage /opt/flytelineage

# The root file system may be read-only: whatever is written, caches of libraries
# included, goes to the volume (HOME) or to /tmp, for which mount a small tmpfs.
ENV PATH=/opt/flytelineage/bin:$PATH \
    HOME=/var/lib/flytelineage \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DATAHUB_TELEMETRY_ENABLED=false

# The working directory: flytelineage_config.py is looked for here, the SQLite store
# and lineage.jsonl are written here.
WORKDIR /var/lib/flytelineage
VOLUME /var/lib/flytelineage
USER 10001:10001

# No HEALTHCHECK: orchestrators restart a container whose process ends, and the
# process ends whenever it cannot go on by itself.
STOPSIGNAL SIGTERM
ENTRYPOINT ["flytelineage"]
