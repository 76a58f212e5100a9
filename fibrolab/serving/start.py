"""Start of the server of a run."""

import logging
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from fibrolab.errors import ConfigError
from fibrolab.runs import answering
from fibrolab.runs.trained_run import TrainedRun, open_run
from fibrolab.serving import guard
from fibrolab.serving.guard import TOKEN

if TYPE_CHECKING:
    import uvicorn

    from fibrolab.serving.app import Served

MISSING = "fibrolab.serve needs packages that are not installed: pip install 'fibrolab[serve]' ({error})."
SHUTDOWN = 30  # [s] that running requests have when the server is stopped


def serve(config: DictConfig) -> None:
    """Answer requests until the process is stopped.

    Args:
        config: `conf/serve.yaml`, composed.

    Raises:
        ConfigError: The run is unknown, segments or has no network; other machines could reach the server
            without a token; its packages are not installed, or another program uses the port.
    """
    token = os.environ.get(TOKEN, "")
    guard.check(config.host, token)
    run = open_run(str(config.run), config.tracking.uri)  # refused before the slow imports
    try:
        import uvicorn

        from fibrolab.serving.app import build
    except ImportError as error:
        raise ConfigError(MISSING.format(error=error)) from error
    logging.getLogger("fibrolab.data.sources.table").setLevel(logging.ERROR)  # advice on splits
    opened = served(run, config)
    app = build(opened, config.host, token)
    shown = f"[{config.host}]" if ":" in config.host else config.host
    settings = uvicorn.Config(
        app,
        host=config.host,
        port=config.port,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN,
    )
    listening = bound(settings)
    print(f"page     http://{shown}:{config.port}/")
    if cases := opened.staging.cases:
        print(f"cases    every reader sees training pictures of patients of {cases.data}")
    print(f"use      {answering.USE}: not a medical device, not for decisions on patients", flush=True)
    try:
        uvicorn.Server(settings).run([listening])
    except KeyboardInterrupt:
        print("stopped")


def bound(settings: "uvicorn.Config") -> socket.socket:
    """Return the socket at which the server answers, of which connections send without delay.

    An answer leaves in two parts, headers and content. asyncio sets this option only on sockets that name
    their protocol, which uvicorn's does not (uvicorn 0.54): the content would wait 40 ms, until the client
    confirms the headers.

    Raises:
        ConfigError: Another program uses the port, or the machine has no such address.
    """
    try:
        listening = settings.bind_socket()
    except SystemExit as error:  # the reason is in the log above
        raise ConfigError(f"The server cannot answer at {settings.host}, port {settings.port}.") from error
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def served(run: TrainedRun, config: DictConfig) -> "Served":
    """Load the networks of a run, and open the stores that a config names.

    Raises:
        ConfigError: The run segments, has no network or no training cases to show; or a study of readers
            needs one file of each sample.
    """
    from fibrolab.serving import run_facts
    from fibrolab.serving.app import Limits, Served
    from fibrolab.serving.kept_files import KeptFiles
    from fibrolab.serving.readings import ReadingStore
    from fibrolab.serving.request_counters import Measurements
    from fibrolab.serving.staging import Staging

    staging = Staging(run, config.coverage, config.nearest_cases)
    facts = run_facts.of(staging)
    store = None
    if config.readings is not None:
        if len(staging.visual) != 1 or facts["clinical"]:
            raise ConfigError(
                "readings: a study of readers needs a network on one picture or film of each sample, and "
                f"this one takes {', '.join([*staging.visual, *facts['clinical']])}. Leave readings out."
            )
        store = ReadingStore(Path(config.readings), facts["run"], staging.rules[answering.SAMPLE])
    return Served(
        staging,
        Limits(config.limits.megabytes, config.limits.files),
        facts,
        Measurements(staging),
        None if config.keep is None else KeptFiles(Path(config.keep)),
        store,
    )
