# Images of Assay: `operator` (no torch), `data`, and `trainer` for CPUs or GPUs.
#
#   docker build --target operator --tag REGISTRY/assay-operator:0.1.0 .
#   docker build --target data --tag REGISTRY/assay-data:0.1.0 .
#   docker build --target trainer --build-arg ACCELERATOR=gpu --tag REGISTRY/assay-trainer:0.1.0-gpu .
#
# The base is a Debian 12 by tag; your own mirror or digest: --build-arg BASE=NAME@sha256:...
# A package mirror or a private authority: --secret id=pip,src=pip.conf --secret id=ca,src=ca.crt
# (docs/cluster.md). No secret and no certificate stays in an image.

ARG BASE=debian:12.12-slim

# What every image has: Python, and a user without rights. bash, grep and wget are what KubeRay's
# probes call inside of Ray's containers.
FROM ${BASE} AS python
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        ca-certificates python3 \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/* /usr/share/doc/* \
        /usr/lib/python3.*/lib2to3 /usr/lib/python3.*/pydoc_data /usr/lib/python3.*/distutils \
    && groupadd --gid 10001 assay \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin assay
ENV PATH=/opt/assay/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    OMP_WAIT_POLICY=PASSIVE

# What builds the environments, and is in none of the images.
FROM python AS build
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3-venv \
    && apt-get clean && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY constraints constraints
ARG UV_VERSION=0.13.9
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=secret,id=ca,target=/run/secrets/ca.crt \
    python3 -m venv /opt/tools \
    && /opt/tools/bin/pip install --quiet --no-cache-dir --constraint constraints/cpu.txt \
        uv==${UV_VERSION} hatchling
COPY docker/install.sh docker/slim.py /opt/tools/bin/

# Packages first, then the project: a change of the project leaves the layer with the packages.
FROM build AS operator-build
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=secret,id=ca,target=/run/secrets/ca.crt \
    sh /opt/tools/bin/install.sh packages operator constraints/cpu.txt \
    && sh /opt/tools/bin/install.sh slim
COPY operator operator
COPY trainer trainer
COPY data data
COPY manifests/platforms manifests/platforms
RUN sh /opt/tools/bin/install.sh project

FROM python AS operator
COPY --from=operator-build /opt/assay /opt/assay
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["assay"]
CMD ["operator"]

FROM build AS data-build
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=secret,id=ca,target=/run/secrets/ca.crt \
    sh /opt/tools/bin/install.sh packages data constraints/cpu.txt
COPY operator operator
COPY trainer trainer
COPY data data
COPY manifests/platforms manifests/platforms
RUN sh /opt/tools/bin/install.sh project

FROM python AS data
COPY --from=data-build /opt/assay /opt/assay
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["assay"]

FROM build AS trainer-build
ARG ACCELERATOR=cpu
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=secret,id=ca,target=/run/secrets/ca.crt \
    sh /opt/tools/bin/install.sh packages trainer,trackers,${ACCELERATOR} constraints/${ACCELERATOR}.txt
COPY operator operator
COPY trainer trainer
COPY data data
COPY manifests/platforms manifests/platforms
RUN sh /opt/tools/bin/install.sh project

# A compiler and Python's headers: Triton and DeepSpeed build kernels when they first need them.
FROM python AS trainer
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        g++ libnuma1 ninja-build python3-dev wget \
    && apt-get clean && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/*
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video
COPY --from=trainer-build /opt/assay /opt/assay
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["assay"]
