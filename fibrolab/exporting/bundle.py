"""A bundle of MONAI: the network in TorchScript, its metadata, and an inference that MONAI's own tools run.

The layout is that of the MONAI bundle specification: `configs/metadata.json`, `configs/inference.json`,
`models/model.ts` and `docs/README.md`. Tools that read bundles find in it a network of one picture or film,
float levels 0 to 255, with one probability a class. `python -m monai.bundle run` reads and prepares files as
fibrolab does, which must be installed beside MONAI.
"""

from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata as installed
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fibrolab import keys
from fibrolab.data.cache import PixelStore
from fibrolab.data.clip_sampling import Segment
from fibrolab.data.datamodule import FibrosisDataModule
from fibrolab.data.preprocess import Preprocess
from fibrolab.errors import ConfigError, DataError
from fibrolab.exporting.exported_network import Entry
from fibrolab.runs import answering, new_input
from fibrolab.runs.answering import Rules
from fibrolab.runs.checkpoint import temporary_unless
from fibrolab.storage import put, save_json, write_table

FOLDER = "bundle"
SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
)
ANSWERS_FILE = "answers.csv"


def refuse_unsuitable(entries: tuple[Entry, ...], preprocess: Mapping[str, Any]) -> None:
    """Refuse networks that a bundle cannot describe.

    Raises:
        ConfigError: The network takes several inputs or clinical values, or images cropped to their masks.
    """
    names = [entry.name for entry in entries]
    if len(names) > 1 or names[0] == keys.CLINICAL:
        raise ConfigError(
            f"format=bundle: MONAI's tools take a network of one picture or film, and this one takes "
            f"{', '.join(names)}: use format=onnx, torch_export or mlflow."
        )
    if preprocess["crop"] == "mask":
        raise ConfigError(
            "format=bundle: the images of this network are cropped to masks, which a bundle cannot hold. "
            "Use format=mlflow, which makes the masks, or onnx or torch_export, which take cropped images."
        )


def write(
    folder: Path, entry: Entry, rules: Rules, record: Mapping[str, Any], known: Mapping[str, Any]
) -> None:
    """Write the configs and the description of a bundle beside its network.

    Args:
        folder: Folder of the bundle.
        entry: The network's input.
        rules: Decision rules of samples.
        record: Record of the training (`fibrolab.runs.training_record.described`).
        known: Metadata of the export.

    Raises:
        StorageError: The folder cannot be written.
    """
    channels, *spatial = entry.shape
    save_json(_metadata(entry.name, channels, spatial, rules, known), folder / "configs" / "metadata.json")
    save_json(_inference(entry.name, rules, record), folder / "configs" / "inference.json")
    put(folder / "docs" / "README.md", _readme(known).encode())


def _metadata(
    name: str, channels: int, spatial: list[int], rules: Rules, known: Mapping[str, Any]
) -> dict[str, Any]:
    film = name == keys.CLIP
    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": f"exported from run {known['run']}"},
        "monai_version": installed.version("monai"),
        "pytorch_version": installed.version("torch").partition("+")[0],
        "numpy_version": installed.version("numpy"),
        "required_packages_version": {"fibrolab": installed.version("fibrolab")},
        "name": str(known["name"]),
        "task": f"classification of ultrasound of the liver into {', '.join(rules.classes)}",
        "description": f"Probability of {', '.join(rules.classes)} for one {'film' if film else 'picture'}.",
        "authors": "to be completed by the authors",
        "copyright": "to be completed by the authors",
        "intended_use": f"{answering.USE}: not a medical device, not for decisions on patients",
        "data_source": "to be completed by the authors",
        "data_type": "ultrasound",
        "image_classes": f"{'RGB' if channels == 3 else 'grey'} levels 0 to 255, preprocessed as in the run",
        "pred_classes": f"one probability for each of {', '.join(rules.classes)}",
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "modality": "US",
                    "num_channels": channels,
                    "spatial_shape": spatial,
                    "dtype": "float32",
                    "value_range": [0, 255],
                    "is_patch_data": False,
                    "channel_def": (
                        {"0": "red", "1": "green", "2": "blue"} if channels == 3 else {"0": "grey level"}
                    ),
                }
            },
            "outputs": {
                "pred": {
                    "type": "probabilities",
                    "format": "classes",
                    "num_channels": len(rules.classes),
                    "spatial_shape": [],
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": False,
                    "channel_def": {str(number): each for number, each in enumerate(rules.classes)},
                }
            },
        },
        "fibrolab": dict(known),
    }


def _inference(name: str, rules: Rules, record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "input": "$@bundle_root + '/input'",
        "output": f"$@bundle_root + '/{ANSWERS_FILE}'",
        "device": "$torch.device('cpu')",  # on which it was traced and compared
        "network_def": "$torch.jit.load(@bundle_root + '/models/model.ts', map_location=@device)",
        "network": "$@network_def.eval()",
        "inferer": {
            "_target_": f"{__name__}.Inference",
            "modality": name,
            "record": {part: record[part] for part in ("preprocess", "segment", "decode", "classes", "task")},
            "rules": asdict(rules),
        },
        "run": ["$@inferer(@network, @input, @output, @device)"],
    }


def _readme(known: Mapping[str, Any]) -> str:
    return f"""# {known["name"]}

{answering.USE.capitalize()}: not a medical device, not for decisions on patients.

    python -m monai.bundle run --config_file configs/inference.json --meta_file configs/metadata.json \\
      --bundle_root . --input DIR --output answers.csv

stages the pictures, DICOM files or films of DIR as the run {known["run"]} does; fibrolab must be installed.
`models/model.ts` alone takes levels 0 to 255 after the preprocessing of the run, which
`configs/metadata.json` states.
"""


class Inference:
    """The step that a bundle's `inference.json` runs: from files to a table of answers.

    Args:
        modality: Input of the network: image, elastogram or clip.
        record: Parts of the record of the training: preprocess, segment, decode, classes, task.
        rules: Decision rules of samples.
    """

    def __init__(self, modality: str, record: Mapping[str, Any], rules: Mapping[str, Any]) -> None:
        self.modality, self.record = modality, record
        self.rules = Rules(**{**rules, "classes": tuple(rules["classes"])})

    def __call__(self, network: Any, given: str, output: str, device: torch.device) -> Path:
        """Answer every file, and return the table.

        Args:
            network: The network, from float levels (B, C, ...) to probabilities (B, K).
            given: A picture, a film, or a folder of these.
            output: The CSV that is written.
            device: Device of the network.

        Raises:
            DataError: There is no such input, or a file cannot be read.
            StorageError: The table cannot be written.
        """
        manifest = new_input.listed([given], self.record, [self.modality], labels=False)
        with temporary_unless(None) as cache:
            data, faults = new_input.unlabelled(manifest, self.rules.classes)
            if data is None or faults:
                raise DataError("These files cannot be read: " + " ".join(faults.values()))
            preprocess = Preprocess(**self.record["preprocess"]).of(self.modality)
            datamodule = FibrosisDataModule(
                data=data,
                stores={self.modality: PixelStore(cache / "pixels", preprocess)},
                segment=Segment(**self.record["segment"]),
                num_workers=0,
            )
            datamodule.prepare_data()
            chances = np.zeros((len(data.manifest), len(self.rules.classes)))
            for batch in datamodule.test_dataloader():
                with torch.no_grad():
                    found = network(batch[self.modality].to(device).float())
                chances[batch[keys.INDEX].numpy()] = found.double().cpu().numpy()
        names = data.manifest.table[[keys.SAMPLE_ID]].reset_index(drop=True)
        table = names.join(self.rules.answers(chances)).assign(use=answering.USE)
        return write_table(table, Path(output))
