"""Export the network of a finished run: `python -m fibrolab.export run=RUN_ID format=onnx`."""

import importlib.util

from omegaconf import DictConfig

from fibrolab.choices import refuse
from fibrolab.config import Job, command
from fibrolab.runs import trained_run

NEEDS = {"onnx": ("onnx", "onnxscript", "onnxruntime")}  # packages of the extra `export`, by format


def imported(config: DictConfig) -> Job:
    """Import and return the function that exports; it returns the artifact.

    Raises:
        ConfigError: `run` names several runs, `int8` does not go with the format, or a package is missing.
    """
    config.run = trained_run.only(config.run)
    faults = []
    if config.int8 and config.format != "onnx":
        faults.append(f"int8=true needs format=onnx, not {config.format}: leave one of them out.")
    if lacking := [name for name in NEEDS.get(config.format, ()) if importlib.util.find_spec(name) is None]:
        faults.append(
            f"format={config.format} needs {', '.join(lacking)}: install it by "
            "`pip install 'fibrolab[export]'`."
        )
    refuse(faults)
    from fibrolab.analyses.exporting import export

    return export


if __name__ == "__main__":
    command("export", imported)
