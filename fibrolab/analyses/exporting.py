"""Export the network of a finished run, compared with the run before anything is written."""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from fibrolab import environment, keys
from fibrolab.errors import ConfigError
from fibrolab.exporting import bundle, exported_network, graphs, int8, latency, parity, record
from fibrolab.exporting.exported_network import ExportedNetwork
from fibrolab.exporting.graphs import Graph, OnnxGraph, ProgramGraph, ScriptGraph
from fibrolab.exporting.parity import Answer, Validation
from fibrolab.runs import answering, own_samples
from fibrolab.runs.answering import SAMPLE, Rules
from fibrolab.runs.trained_run import TrainedRun, open_run
from fibrolab.storage import make_folder, save_json, write_table, writing

ONNX, PROGRAM, MLFLOW, BUNDLE = "onnx", "torch_export", "mlflow", "bundle"


@dataclass(frozen=True)
class _Source:
    """A run and what all its exports have in common."""

    run: TrainedRun
    rules: Mapping[str, Rules]
    config: DictConfig
    cache: Path


def export(config: DictConfig) -> str:
    """Export the network of a run.

    Args:
        config: `conf/export.yaml`, composed.

    Returns:
        The artifact: a file, or a folder.

    Raises:
        ConfigError: The run is unknown, segments, or has no network; the network cannot be exported in this
            format; the folder has an export already.
        DataError: The artifact does not answer as the run, or the run's validation samples are no longer
            there. Nothing is then written.
        StorageError: The disk is full, or the folder cannot be written.
    """
    run = open_run(str(config.run), config.tracking.uri, artifacts=config.tracking.artifacts)
    _refuse_without_network(run)
    rules = answering.rules(run, round(1 - config.coverage, 12))
    source = _Source(run, rules, config, Path(config.paths.cache))
    if config.format == MLFLOW:
        from fibrolab.analyses import exporting_to_mlflow

        return exporting_to_mlflow.write(run, rules, config)
    network = ExportedNetwork(run.predictors, rules[SAMPLE])
    if config.format == BUNDLE:
        bundle.refuse_unsuitable(network.entries, run.predictors[0].record["preprocess"])
    folder = make_folder(Path(config.folder).absolute())
    if (folder / keys.EXPORT_FILE).exists():
        raise ConfigError(f"{folder} has an export already: give another folder, or remove it.")
    validation = parity.of_run(run, network, rules[SAMPLE], source.cache)
    graph = _graph(config.format, network, validation)
    with drafted(folder) as draft:
        artifact = _write(draft, graph, network, validation, source)
    print(f"artifact {folder / artifact}")
    print(f"record   {folder / keys.EXPORT_FILE}")
    print(f"use      {answering.USE}: not a medical device, not for decisions on patients")
    return str(folder / artifact)


def _write(
    draft: Path, graph: Graph, network: ExportedNetwork, validation: Validation, source: _Source
) -> str:
    """Write the artifact and its record into a folder of drafts, and return its name."""
    run, rules, is_bundle = source.run, source.rules[SAMPLE], isinstance(graph, ScriptGraph)
    path = draft / bundle.FOLDER / "models" / graph.file_name if is_bundle else draft / graph.file_name
    make_folder(path.parent)
    graph.save(path, {})
    answer = graph.load(path)
    if is_bundle:
        answer = _on_levels(answer)
        validation = replace(validation, outputs=validation.outputs[:1], reference=validation.reference[:1])
    known = record.described(run, source.rules) | exported_network.described(network, rules)
    known["parity"] = record.compared(run, validation, validation.difference(answer), parity.LARGEST)
    known["latency"] = _timed(source.config.format, answer, network, validation)
    if source.config.int8:
        known["int8"] = _quantised(draft, path, network, validation, source)
    graph.save(path, known)
    if is_bundle:
        bundle.write(draft / bundle.FOLDER, network.entries[0], rules, run.predictors[0].record, known)
    save_json(known, draft / keys.EXPORT_FILE)
    return bundle.FOLDER if is_bundle else graph.file_name


def _graph(form: str, network: ExportedNetwork, validation: Validation) -> Graph:
    """Trace the network for a format."""
    started = time.monotonic()
    if form == ONNX:
        graph: Graph = OnnxGraph(network)
    elif form == PROGRAM:
        graph = ProgramGraph(network)
    else:
        _, (levels,) = next(validation.batches())
        graph = ScriptGraph(network, levels.float())
    print(f"traced   in {time.monotonic() - started:.1f} s")
    return graph


def _timed(form: str, answer: Answer, network: ExportedNetwork, validation: Validation) -> dict[str, Any]:
    """Measure the latency, print it, and return it for the record."""
    _, values = next(validation.batches())
    table = latency.measure(answer, graphs.torch_answer(network), values)
    for row in table.to_dict("records"):
        print(
            f"latency  batch {row['batch']:>3.0f}: {form} {row['artifact_ms']:.2f} ms, "
            f"torch {row['torch_ms']:.2f} ms, ratio {row['ratio']:.2f}"
        )
    return {
        "device": "CPU",
        "threads": torch.get_num_threads(),
        "platform": environment.describe()["platform"],
        "batches": table.to_dict("records"),
    }


def _quantised(
    draft: Path, path: Path, network: ExportedNetwork, validation: Validation, source: _Source
) -> dict[str, Any]:
    """Write the eight-bit network and the table of what it costs; return them for the record."""
    run, rules, names = source.run, source.rules[SAMPLE], [entry.name for entry in network.entries]
    target = draft / int8.FILE
    samples = _training_batches(run, validation, source.cache)
    int8.quantise(path, target, names, samples)
    answer = graphs.onnx_answer(target, names)
    settings = source.run.config.bootstrap
    table = int8.loss_of_accuracy(
        validation,
        rules,
        validation.answers(answer)[0],
        int(settings.resamples),
        int(run.config.seed),
        float(settings.level),
    )
    write_table(table, draft / int8.TABLE_FILE)
    sizes = [round(each.stat().st_size / 1e6, 3) for each in (path, target)]
    print(f"int8     {sizes[1]:.1f} MB, float32 {sizes[0]:.1f} MB; exempt from parity, see {int8.TABLE_FILE}")
    for row in table.to_dict("records"):
        interval = f"{row['low']:+.3f} to {row['high']:+.3f}" if row["low"] == row["low"] else "no interval"
        print(
            f"int8     {row['measure']} {row['int8']:.3f}, difference {row['difference']:+.3f} ({interval})"
        )
    timed = _timed("int8", answer, network, validation)
    return {
        "file": int8.FILE,
        "megabytes": {"float32": sizes[0], "int8": sizes[1]},
        "latency": timed["batches"],
        "validation": json.loads(table.to_json(orient="records")),
    }


def _training_batches(run: TrainedRun, validation: Validation, cache: Path) -> list[list[torch.Tensor]]:
    """Return training samples as batches of entries, for the scales of an eight-bit network."""
    samples = run.samples.index.to_numpy()[int8.calibration_rows(run.samples[keys.PARTITION].to_numpy())]
    data = own_samples.chosen(own_samples.reloaded(run, cache), run, samples.tolist())
    data = validation.networks[0].masked(data, cache)
    return [values for _, values in replace(validation, data=data).batches()]


def _on_levels(answer: Answer) -> Answer:
    """Return the function of an artifact that takes float levels, for entries of bytes."""
    return lambda values: answer([value.float() for value in values])


def _refuse_without_network(run: TrainedRun) -> None:
    if run.segments:
        raise ConfigError(f"{run.name} segments images, and only classifiers are exported.")
    if "model" not in run.config or "trainer" not in run.config or run.config.get("learnt_from"):
        raise ConfigError(f"{run.name} has no network of its own; name one of `fibrolab.train`.")


@contextmanager
def drafted(folder: Path) -> Iterator[Path]:
    """Yield a folder of drafts that are moved into `folder` at the end; after an error, none of them is.

    Raises:
        StorageError: The folder cannot be written.
    """
    draft = make_folder(folder / f".export-{os.getpid()}")
    try:
        with writing(folder):
            yield draft
            for path in sorted(draft.iterdir(), key=lambda path: path.name == keys.EXPORT_FILE):  # it last
                path.replace(folder / path.name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
