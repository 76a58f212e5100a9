# The image of the server that stages pictures with a trained run, on the CPU, from the root of the project:
#   docker build --file docker/staging.Dockerfile --tag fibrolab/staging .

FROM python:3.13.15-slim-bookworm@sha256:2325bb286ec344af3e5898cc224b5844e2707ac6e26b1632516fd3edc84a5e26 AS build
ARG CPU_INDEX=https://download.pytorch.org/whl/cpu
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/fibrolab/bin:$PATH
RUN python -m venv /opt/fibrolab
WORKDIR /build
COPY docker/train-cpu.lock docker/train.lock docker/
# As in train.Dockerfile: setuptools builds antlr4, and PyTorch's CPU builds are pinned by version only.
RUN sed -n '/^setuptools==/,/[^\]$/p' docker/train-cpu.lock > setuptools.lock \
    && pip install --require-hashes -r setuptools.lock \
    && sed -nE 's/^(torch|torchvision)==([^ ]+).*/\1==\2+cpu/p' docker/train.lock > cpu.txt \
    && pip install --no-deps --index-url "$CPU_INDEX" -r cpu.txt \
    && pip install --require-hashes --no-build-isolation -r docker/train-cpu.lock
COPY . .
RUN pip install --no-deps --no-build-isolation .

FROM python:3.13.15-slim-bookworm@sha256:2325bb286ec344af3e5898cc224b5844e2707ac6e26b1632516fd3edc84a5e26
RUN useradd --uid 1000 --create-home fibrolab && install --directory --owner=1000 --group=1000 /work
COPY --from=build /opt/fibrolab /opt/fibrolab
ENV PATH=/opt/fibrolab/bin:$PATH PYTHONUNBUFFERED=1 NO_ALBUMENTATIONS_UPDATE=1
USER 1000:1000
WORKDIR /work
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=4)"]
# Other machines reach a container, so that it needs FIBROLAB_TOKEN.
ENTRYPOINT ["python", "-m", "fibrolab.serve", "host=0.0.0.0"]
CMD ["--help"]
