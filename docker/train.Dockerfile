# The training image, from the root of the project:
#   docker build --file docker/train.Dockerfile --tag fibrolab/train .                          for CUDA
#   docker build --file docker/train.Dockerfile --build-arg TORCH=cpu --tag fibrolab/train:cpu .
# The driver of a GPU comes from the host (NVIDIA Container Toolkit), CUDA's libraries with PyTorch.

FROM python:3.13.15-slim-bookworm@sha256:2325bb286ec344af3e5898cc224b5844e2707ac6e26b1632516fd3edc84a5e26 AS build
ARG TORCH=cuda
ARG CPU_INDEX=https://download.pytorch.org/whl/cpu
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/fibrolab/bin:$PATH
RUN python -m venv /opt/fibrolab
WORKDIR /build
COPY docker/train-cpu.lock docker/train.lock docker/
# antlr4, a parser that Hydra needs, has no wheel: setuptools builds it. PyTorch's CPU builds are not on PyPI,
# so that they are pinned by version only.
RUN sed -n '/^setuptools==/,/[^\]$/p' docker/train-cpu.lock > setuptools.lock \
    && pip install --require-hashes -r setuptools.lock \
    && if [ "$TORCH" = cpu ]; then \
         sed -nE 's/^(torch|torchvision)==([^ ]+).*/\1==\2+cpu/p' docker/train.lock > cpu.txt \
         && pip install --no-deps --index-url "$CPU_INDEX" -r cpu.txt \
         && pip install --require-hashes --no-build-isolation -r docker/train-cpu.lock; \
       else \
         pip install --require-hashes --no-build-isolation -r docker/train.lock; \
       fi
COPY . .
RUN pip install --no-deps --no-build-isolation .

FROM python:3.13.15-slim-bookworm@sha256:2325bb286ec344af3e5898cc224b5844e2707ac6e26b1632516fd3edc84a5e26
RUN useradd --uid 1000 --create-home fibrolab && install --directory --owner=1000 --group=1000 /work
COPY --from=build /opt/fibrolab /opt/fibrolab
ENV PATH=/opt/fibrolab/bin:$PATH PYTHONUNBUFFERED=1 NO_ALBUMENTATIONS_UPDATE=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000:1000
WORKDIR /work
CMD ["python", "-m", "fibrolab.train", "--help"]
