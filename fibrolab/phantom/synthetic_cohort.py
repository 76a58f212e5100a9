"""Cohort: the parameters of the synthetic clinic."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Final

from fibrolab.allowed import ALLOWED
from fibrolab.errors import ConfigError, listing
from fibrolab.phantom import patient as people
from fibrolab.phantom import truth
from fibrolab.phantom.patient import Patient

# Raise it whenever the same parameters give other pixels or rows, or the archive another layout.
GENERATOR_VERSION = 3
MODALITIES: Final = ("image", "capture", "clip", "lesion", "masked")
REAL: Final = ("separability", "duplicates", "leak", "shortcut", "marker")  # numbers that need not be whole


@dataclass(frozen=True)
class Cohort:
    """Parameters of a cohort: every file is a pure function of them, the patient and the view.

    Attributes:
        patients: Number of patients, stages balanced; at least 15, one of each stage for every partition.
        images_per_patient: Number of views of each: images, captures or clips.
        size: Side of the images, width of the captures [px].
        separability: Effect of the stage, from 0 = none to 1 = clear.
        seed: Seed of all random draws.
        modality: One of `MODALITIES`. All modalities of one seed show the same patients.
        format: Format of the images, `png` or `dicom`.
        frames: Number of frames of a clip.
        duplicates: Proportion of the images that are stored again, byte by byte, under another name.
        leak: Proportion of the patients with a copy of another patient's image, of the same stage.
        shortcut: Proportion of the patients whose images reveal the stage by side length and colour mode.
        marker: Of pictures with masks: proportion of the patients for whom the burned-in name of the preset
            goes with the stage; that of the others is drawn at random.
        sliced: Whether patients are numbered in the order of their stage.

    Raises:
        ConfigError: Parameters out of range, all of them at once.
    """

    patients: int = 200
    images_per_patient: int = 4
    size: int = 128
    separability: float = 1.0
    seed: int = 0
    modality: str = "image"
    format: str = "png"
    frames: int = 30
    duplicates: float = 0.0
    leak: float = 0.0
    shortcut: float = 0.0
    marker: float = 0.0
    sliced: bool = False

    def __post_init__(self) -> None:
        faults = [fault for name, value in vars(self).items() if (fault := _fault(name, value))]
        if not faults and self.modality == "clip" and self.size % 2:
            faults = [f"size is {self.size}; a clip needs an even number of pixels"]
        if faults:
            raise ConfigError(f"The phantom cannot be drawn:\n{listing(faults)}")

    def key(self) -> str:
        """Return a short hash of the parameters and the generator's version, for the archive's name."""
        parameters = asdict(self) | {name: float(getattr(self, name)) for name in REAL}  # 1 is 1.0
        text = json.dumps(parameters | {"version": GENERATOR_VERSION}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def stage(self, number: int) -> int:
        """Return the METAVIR stage of the patient of that number."""
        if self.sliced:
            return number * len(truth.CLASSES) // self.patients
        return people.stage_of(self.seed, number)

    def person(self, number: int) -> Patient:
        """Return the patient of that number."""
        return people.patient(self.seed, number, self.separability, self.stage(number))

    def best_accuracies(self) -> dict[str, float]:
        """Return the best possible mean accuracy for each kind of image that shows the stage."""
        stages = [self.stage(number) for number in range(self.patients)]
        counts = [stages.count(stage) for stage in range(len(truth.CLASSES))]
        return {
            kind: truth.best_accuracy(self.separability, channels, counts)
            for kind, channels in truth.SHOWN.items()
        }


def _fault(name: str, value: object) -> str:
    """Return a sentence on the fault of a parameter; empty if there is none."""
    if name == "modality":
        return "" if value in MODALITIES else f"modality is {value!r}; give one of {', '.join(MODALITIES)}"
    if name == "sliced":
        return "" if isinstance(value, bool) else f"sliced is {value!r}; give true or false"
    permitted = ALLOWED[f"data.{name}"]
    return "" if permitted.holds(value) else f"{name} is {value!r}; give {permitted.words}"
