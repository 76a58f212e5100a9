"""Records of a patient: the files of each modality, and their rows in the table."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibrolab import keys
from fibrolab.phantom import beam, files, lesions, motion, preset_text, truth
from fibrolab.phantom import patient as people
from fibrolab.phantom.bmode import bmode, tissue_image
from fibrolab.phantom.capture import capture
from fibrolab.phantom.measurements import AST_ULN_U_L, kilopascals
from fibrolab.phantom.patient import Patient
from fibrolab.phantom.synthetic_cohort import Cohort
from fibrolab.phantom.truth import severity

SCORE = "phantom_{}"  # columns of the latent scores, for comparing a model with the best possible one
MASKS = "masks"  # folder of the true masks
LESIONED, LESION_KINDS = 0.5, ("cyst", "haemangioma")  # of the pictures with masks: proportion, kinds
CAPTURE = "capture"  # column of the screen captures
FPS = 15.0
RGB_STAGES = (2, 3)  # stored in colour by the shortcut, as in the Kaggle data set, whose F2 and F3 are RGB
SMALLER = 16  # the shortcut reduces the side length by one 16th per stage

Cell = str | int | float
Row = dict[str, Cell]


class Drawn(NamedTuple):
    """One view: pixels `(H, W)`, `(H, W, 3)` or `(N, H, W)`, its columns of the table, and its true mask."""

    pixels: NDArray[np.uint8]
    cells: dict[str, Cell]
    mask: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Modality:
    """Generator and storage settings of a modality's files.

    Attributes:
        draw: Function that draws one view of a patient.
        folder: Folder of the files.
        column: Column of the table with their paths.
        seconds: Approximate time to draw one view [s].
        bytes_a_pixel: Largest size of a stored file, divided by the square of `size`.
    """

    draw: Callable[[Cohort, Patient, int], Drawn]
    folder: str
    column: str
    seconds: float
    bytes_a_pixel: float


def store(root: Path, cohort: Cohort, number: int) -> list[Row]:
    """Write the files of one patient; return a row of the table for each."""
    modality = MODALITY[cohort.modality]
    person = cohort.person(number)
    views = [(person, view) for view in range(cohort.images_per_patient)]
    views += _duplicates(cohort, person) + _leaked(cohort, person)
    rows = []
    for index, (owner, view) in enumerate(views):
        sample_id = f"{_name(number)}-{index}"
        path = Path(modality.folder) / f"{sample_id}{files.SUFFIX[_kind(cohort)]}"
        drawn = modality.draw(cohort, owner, view)
        files.write(root / path, drawn.pixels, _header(cohort, owner, view))
        names: Row = {keys.SAMPLE_ID: sample_id, modality.column: path.as_posix()}
        if drawn.mask is not None:
            mask = Path(MASKS) / f"{sample_id}.png"
            files.write(root / mask, drawn.mask, _header(cohort, owner, view))
            names[keys.MASK] = mask.as_posix()
        rows.append(names | _cells(person) | drawn.cells)
    return rows


def _cells(person: Patient) -> Row:
    """Return the columns of the table that describe a patient."""
    patient_id, scanner = _name(person.number), person.exam.scanner
    scores: Row = {SCORE.format(channel): f"{score:.6f}" for channel, score in person.scores.items()}
    return {
        keys.PATIENT_ID: patient_id,
        keys.VISIT_ID: f"{patient_id}-v1",
        keys.LABEL: truth.CLASSES[person.stage],
        keys.SITE: scanner.site,
        keys.SCANNER: scanner.name,
        keys.AGE_YEARS: person.age_years,
        keys.SEX: person.sex,
        keys.LSM_KPA: person.lsm_kpa,
        keys.AST_U_L: person.blood.ast_u_l,
        keys.AST_ULN_U_L: AST_ULN_U_L,
        keys.ALT_U_L: person.blood.alt_u_l,
        keys.PLATELETS_1E9_L: person.blood.platelets_1e9_l,
        **scores,
    }


def _name(number: int) -> str:
    return f"p{number:04d}"


def _kind(cohort: Cohort) -> str:
    """Return the key of the file format in `files.SUFFIX`."""
    return "film" if cohort.modality == "clip" else cohort.format


def _header(cohort: Cohort, owner: Patient, view: int) -> files.Header:
    return files.Header(
        name=f"{cohort.seed}/{_name(owner.number)}/{view}",
        patient_id=_name(owner.number),
        sex=owner.sex,
        age_years=owner.age_years,
        model=owner.exam.scanner.name,
        fps=FPS,
    )


def _duplicates(cohort: Cohort, person: Patient) -> list[tuple[Patient, int]]:
    """Return the views of a patient that are stored again."""
    rng = people.generator(cohort.seed, people.STREAM_FAULTS, person.number, 0)
    chosen = rng.random(cohort.images_per_patient) < cohort.duplicates
    return [(person, int(view)) for view in np.flatnonzero(chosen)]


def _leaked(cohort: Cohort, person: Patient) -> list[tuple[Patient, int]]:
    """Return the first view of the previous patient of the same stage, if this record has a copy of it."""
    if people.generator(cohort.seed, people.STREAM_FAULTS, person.number, 1).random() >= cohort.leak:
        return []
    previous = range(person.number - 1, -1, -1)
    owner = next((number for number in previous if cohort.stage(number) == person.stage), None)
    return [] if owner is None else [(cohort.person(owner), 0)]


def _image(cohort: Cohort, person: Patient, view: int) -> Drawn:
    """Draw a B-mode image; the shortcut makes its size and colour mode depend on the stage."""
    rng = people.generator(cohort.seed, people.STREAM_IMAGE, person.number, view)
    faults = people.generator(cohort.seed, people.STREAM_FAULTS, person.number, 2)
    has_shortcut = faults.random() < cohort.shortcut
    size = cohort.size * (SMALLER - person.stage - 1) // SMALLER if has_shortcut else cohort.size
    picture = bmode(person.body, person.exam, size, rng)
    if has_shortcut and person.stage in RGB_STAGES:
        picture = np.repeat(picture[..., None], 3, axis=2)
    return Drawn(picture, {})


def _capture(cohort: Cohort, person: Patient, view: int) -> Drawn:
    """Draw a screen capture of elastography."""
    rng = people.generator(cohort.seed, people.STREAM_CAPTURE, person.number, view)
    stiffness = kilopascals(person.scores[truth.STIFFNESS])
    screen, lsm_kpa = capture(person.body, person.exam, stiffness, cohort.size, rng)
    return Drawn(screen, {keys.LSM_KPA: lsm_kpa})


def _clip(cohort: Cohort, person: Patient, view: int) -> Drawn:
    """Draw a clip; the heartbeat deforms stiff livers less, see `motion.clip` for sources."""
    rng = people.generator(cohort.seed, people.STREAM_CLIP, person.number, view)
    deformation = severity(-person.scores[truth.MOTION])
    film = motion.clip(person.body, person.exam, cohort.size, rng, cohort.frames, FPS, deformation)
    return Drawn(film, {})


def _lesion(cohort: Cohort, person: Patient, view: int) -> Drawn:
    """Draw an image with a focal lesion."""
    classes = lesions.CLASSES
    kind = classes[
        people.balanced_class(cohort.seed, people.STREAM_LESION_CLASSES, person.number, len(classes))
    ]
    rng = people.generator(cohort.seed, people.STREAM_LESION, person.number, view)
    picture, box = lesions.picture(kind, person.body, person.exam, cohort.size, rng)
    return Drawn(picture, {keys.LABEL: kind, **box._asdict()})


def _masked(cohort: Cohort, person: Patient, view: int) -> Drawn:
    """Draw a B-mode image with the scanner's text, a lesion in half of the images, and the true mask.

    Neither a cyst nor a haemangioma depends on the stage; of the text, see `Cohort.marker`.
    """
    rng = people.generator(cohort.seed, people.STREAM_MASKED, person.number, view)
    kind = str(rng.choice(LESION_KINDS)) if rng.random() < LESIONED else lesions.CLASSES[0]
    tissue, _ = lesions.lesioned(kind, person.body, person.exam, rng)
    picture = tissue_image(tissue, person.exam, cohort.size, rng)
    scanner, depth_mm = person.exam.scanner, person.exam.depth_mm
    mask = beam.scan_convert_labels(tissue.structure, scanner, depth_mm, cohort.size)
    planted = people.generator(cohort.seed, people.STREAM_FAULTS, person.number, 3)
    reveals, any_preset = planted.random() < cohort.marker, int(planted.integers(len(preset_text.PRESETS)))
    preset_text.burn_in(picture, mask, person.stage if reveals else any_preset)
    return Drawn(picture, {}, mask)


MODALITY: Final = {
    "image": Modality(_image, "images", keys.IMAGE, 0.01, 1.0),
    "capture": Modality(_capture, "captures", CAPTURE, 0.04, 1.5),
    "clip": Modality(_clip, "clips", keys.CLIP, 1.5, 12.0),
    "lesion": Modality(_lesion, "lesions", keys.IMAGE, 0.03, 1.0),
    "masked": Modality(_masked, "images", keys.IMAGE, 0.03, 1.2),
}
