# One image, many commands: `connection-health …`, `celery -A worker worker`, `celery -A worker beat`.
# It runs as a numeric account without a home, and needs no writable file system besides /tmp.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
# First what seldom changes, so that a change of ours builds in seconds.
COPY requirements/build.txt requirements/run.txt requirements/
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --no-deps --require-hashes -r requirements/build.txt \
 && python -m venv /opt/connection-health \
 && /opt/connection-health/bin/pip install --no-deps --require-hashes -r requirements/run.txt
COPY pyproject.toml README.md ./
COPY classifier classifier
COPY cli cli
COPY embedded embedded
COPY models models
COPY simulator simulator
COPY web web
COPY vendors vendors
COPY worker worker
RUN /opt/build/bin/python -m hatchling build -t wheel -d dist \
 && /opt/connection-health/bin/pip install --no-deps --no-index dist/*.whl \
 && /opt/connection-health/bin/pip check \
 && /opt/connection-health/bin/pip uninstall --yes pip

FROM python:${PYTHON}-slim-trixie
# The account has a name only because Celery takes one without for root.
RUN groupadd --gid 10001 app \
 && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin app
COPY --from=build /opt/connection-health /opt/connection-health
ENV PATH=/opt/connection-health/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /tmp
USER 10001:10001
STOPSIGNAL SIGTERM
CMD ["connection-health", "--help"]
