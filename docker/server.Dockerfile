# The image of the MLflow server and of optuna-dashboard, from the root of the project:
#   docker build --file docker/server.Dockerfile --tag fibrolab/server .

FROM python:3.13.15-slim-bookworm@sha256:2325bb286ec344af3e5898cc224b5844e2707ac6e26b1632516fd3edc84a5e26 AS build
COPY docker/server.lock /build/server.lock
RUN python -m venv /opt/server \
    && /opt/server/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /build/server.lock

FROM python:3.13.15-slim-bookworm@sha256:2325bb286ec344af3e5898cc224b5844e2707ac6e26b1632516fd3edc84a5e26
RUN useradd --uid 1000 --create-home server
COPY --from=build /opt/server /opt/server
COPY docker/serve.sh docker/mlflow_auth.ini /opt/server/
ENV PATH=/opt/server/bin:$PATH PYTHONUNBUFFERED=1
USER 1000:1000
WORKDIR /home/server
ENTRYPOINT ["/opt/server/serve.sh"]
CMD ["mlflow"]
