# The environment of a run with the pinned packages, and the pipeline in it: `make image` (KIND=cpu or gpu).
#   docker run --rm -v "$PWD/results:/regime-w/results" regime-w:cpu
#   docker run --rm --gpus all --ipc host -v ... regime-w:gpu snakemake --cores all eval_report --configfile configs/smollm2.yaml
# As the image of the rules, `--sdm apptainer`, the checkout's own code runs in it: docs/guide/containers.md.

FROM debian:13-slim AS system-cpu
FROM nvidia/cuda:13.0.2-devel-ubuntu24.04 AS system-gpu

# Debian 13 has Python 3.13, Ubuntu 24.04 has 3.12. A compiler: Triton and FlashInfer build kernels where a model needs them.
FROM system-cpu AS python-cpu
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv rsync \
    && rm -rf /var/lib/apt/lists/*

FROM system-gpu AS python-gpu
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential ca-certificates ninja-build python3-dev python3-venv rsync \
    && rm -rf /var/lib/apt/lists/*

# An index of CPU builds of torch: --build-arg TORCH_INDEX=URL. Without one that has them the build stops, as make does.
FROM python-cpu AS packages-cpu
ARG TORCH_INDEX=""
COPY envs/environment.py envs/cpu.lock /envs/
RUN PIP_NO_CACHE_DIR=1 python3 /envs/environment.py cpu /opt/regime-w --torch-index "$TORCH_INDEX"

FROM python-gpu AS packages-gpu
COPY envs/environment.py envs/gpu.lock /envs/
RUN PIP_NO_CACHE_DIR=1 python3 /envs/environment.py gpu /opt/regime-w

FROM packages-cpu AS cpu
ENV PATH=/opt/regime-w/bin:$PATH
WORKDIR /regime-w
COPY . .
CMD ["snakemake", "--cores", "all", "eval_report"]

FROM packages-gpu AS gpu
ENV PATH=/opt/regime-w/bin:$PATH
WORKDIR /regime-w
COPY . .
CMD ["snakemake", "--cores", "all", "eval_report"]
