"""Cohort: all parameters of the synthetic clinic."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Final

from fibrolab.errors import ConfigError, listing
from fibrolab.phantom import patient as people
from fibrolab.phantom import truth
from fibrolab.phantom.patient import Patient

GENERATOR_VERSION = 2  # raised whenever the same parameters would draw other pixels or rows
MODALITIES: Final = ("image", "capture", "clip", "lesion")
FORMATS: Final = ("png", "dicom")
WHOLE: Final = {"patients": 15, "images_per_patient": 1, "size": 32, "seed": 0, "frames": 2}  # and the lowest
HIGHEST: Final = {"separability": float("inf"), "duplicates": 1.0, "leak": 1.0, "shortcut": 1.0}


@dataclass(frozen=True)
class Cohort:
    """Parameters: every file is a pure function of these, of the patient and of the view.

    Attributes:
        patients: Number of patients, stages balanced; at least 15: of each stage one for every partition.
        images_per_patient: Views of each: pictures, captures or clips.
        size: Side of the pictures, width of the captures [px].
        separability: Distance of the stages; 0 = no trace of the stage, 1 = clear.
        seed: Of everything.
        modality: One of `MODALITIES`. Other modalities of the same seed show the same patients.
        format: Of the pictures, one of `FORMATS`.
        frames: Of a clip.
        duplicates: Share of the pictures that are stored again, byte by byte, under another name.
        leak: Share of the patients who also hold a picture of another patient of their stage.
        shortcut: Share of the patients whose pictures tell the stage by their side length and colour mode.
        sliced: Patients are numbered in order of their stage.

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
    sliced: bool = False

    def __post_init__(self) -> None:
        faults = [fault for name, value in vars(self).items() if (fault := _fault(name, value))]
        if not faults and self.modality == "clip" and self.size % 2:
            faults = [f"size is {self.size}; a film needs an even number of pixels"]
        if faults:
            raise ConfigError(f"The phantom cannot be drawn:\n{listing(faults)}")

    def key(self) -> str:
        """Short hash of the parameters and of the generator's version; it names the archive."""
        parameters = asdict(self) | {name: float(getattr(self, name)) for name in HIGHEST}  # 1 is 1.0
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
        shares = [stages.count(stage) for stage in range(len(truth.CLASSES))]
        return {
            kind: truth.best_accuracy(self.separability, channels, shares)
            for kind, channels in truth.SHOWN.items()
        }


def _fault(name: str, value: object) -> str:
    """Return what is wrong with a parameter, empty if nothing."""
    if name in ("modality", "format"):
        known = MODALITIES if name == "modality" else FORMATS
        return "" if value in known else f"{name} is {value!r}; give one of {', '.join(known)}"
    if name == "sliced":
        return "" if isinstance(value, bool) else f"sliced is {value!r}; give true or false"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in WHOLE:
        good = number and isinstance(value, int) and value >= WHOLE[name]
        return "" if good else f"{name} is {value!r}; give a whole number of {WHOLE[name]} or more"
    highest = HIGHEST[name]
    allowed = "a number of 0 or more" if highest == float("inf") else f"a share from 0 to {highest:g}"
    good = isinstance(value, int | float) and number and 0 <= value <= highest and value < float("inf")
    return "" if good else f"{name} is {value!r}; give {allowed}"
