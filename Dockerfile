# syntax=docker/dockerfile:1
# The steps are those that `make` and .ci/run prove: a virtual environment, the pinned
# requirements, the package. Tests hold what differs, the hashes, against the rest.

# What .ci/run tests with.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/flytelineage
WORKDIR /src
# Requirements first: they change seldom, so this layer is usually cached. Each file is
# held against its hash, nothing is installed that is not on the list, not even what builds
# the package, and nothing else is built: that would run code that is on no list.
COPY requirements.hashes.txt ./
RUN /opt/flytelineage/bin/pip install --require-hashes --only-binary :all: --no-deps \
    -r requirements.hashes.txt
COPY setup.py pyproject.toml LICENSE ./
COPY flytelineage ./flytelineage
RUN /opt/flytelineage/bin/pip install --no-deps --no-build-isolation . \
    && /opt/flytelineage/bin/pip check


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
    DATAHUB_TELEMETRY_ENABLED=false \
    FLYTELINEAGE_HTTP_HOST=0.0.0.0

# The working directory: flytelineage_config.py is looked for here, the SQLite store
# and lineage.jsonl are written here.
WORKDIR /var/lib/flytelineage
VOLUME /var/lib/flytelineage
USER 10001:10001

# Health, metrics and the status page. Inside of a container loopback is nobody else's,
# so there it listens on all addresses; publish the port to those who may look.
EXPOSE 8917

# For plain Docker and Compose: `docker inspect` then shows the reasons that /livez gives.
# Orchestrators ask by probes of their own. Without a port: docker run --no-healthcheck.
HEALTHCHECK --interval=30s --timeout=5s --start-period=5m --retries=3 \
    CMD ["python", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8917, timeout=4); c.request('GET', '/livez'); r = c.getresponse(); print(r.read().decode()); raise SystemExit(r.status != 200)"]

# The program is process 1 and takes signals itself: it starts no process that it does
# not wait for, so nothing has to be reaped.
STOPSIGNAL SIGTERM
ENTRYPOINT ["flytelineage"]
