"""Pictures of an explanation, from its stored maps: panels, mean maps, overlays, films, DICOM captures."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image

from fibrolab import keys
from fibrolab.data.clip_sampling import Segment
from fibrolab.data.formats import video
from fibrolab.data.manifest import Manifest
from fibrolab.data.media import Media
from fibrolab.data.preprocess import Preprocess
from fibrolab.errors import ConfigError
from fibrolab.explanation import maps as map_files
from fibrolab.explanation import overlays, secondary_capture, selection
from fibrolab.explanation.attribution import METHODS, visual_branches
from fibrolab.explanation.overlays import Scale
from fibrolab.explanation.picture_maps import MeanMap, Original, Source, heat_over_time
from fibrolab.explanation.selection import PREDICTED, PROBABILITY, Boundary, Choice
from fibrolab.reporting import explanation_page, explanation_record, run_page, vocabulary
from fibrolab.reporting.explanation_record import MapSet, Record
from fibrolab.reporting.figures import explanation as figures
from fibrolab.reporting.figures.explanation import ExplainedSample
from fibrolab.reporting.figures.style import save
from fibrolab.storage import make_folder, put

if TYPE_CHECKING:
    from fibrolab.runs.checkpoint import Predictor

FILMS, CAPTURES = "films", "dicom"
UNKNOWN_RATE = 15.0  # frames a second of the overlay of a film that does not state its own
JPEG_QUALITY = 90
SCALED = 50  # maps whose values set the colour scale of the overlays

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Subject:
    """The explained run, for titles and for the choice of samples.

    Attributes:
        name: Name of the run.
        classes: Names of its classes.
        endpoints: Lowest positive class of each end point, by its name.
        boundary: The end point that is decided; None: the most probable class.
        run_id: Its id, for the headers of DICOM files; by default its name.
        hashed: Whether ids are hashed (`fibrolab.privacy`), so that no file takes over a patient's name.
    """

    name: str
    classes: Sequence[str]
    endpoints: Mapping[str, int] = field(default_factory=dict)
    boundary: Boundary | None = None
    run_id: str = ""
    hashed: bool = False


def sources_of(network: "Predictor", manifests: Sequence[Manifest]) -> dict[str, Source]:
    """Return the original files of each branch that takes images or films.

    Args:
        network: The explained network.
        manifests: The explained samples.
    """
    record, found = network.record, {}
    for branch in visual_branches(network.classifier):
        modality = network.module.network.input_of(branch)
        media: dict[str, Media] = {}
        for each in manifests:
            present = each.present(modality)
            ids = each.table.loc[present, keys.SAMPLE_ID]
            media |= dict(zip(ids, each.media(modality, present), strict=True))
        segment = Segment(**record["segment"]) if modality == keys.CLIP else None
        found[branch] = Source(media, Preprocess(**record["preprocess"]).of(modality), segment)
    return found


def write(folder: Path, sources: Mapping[str, Source], subject: Subject) -> Path:
    """Draw the maps of an explanation, and write its page and, of a run, the report again.

    Every picture is read once for each branch, and memory does not grow with their number. Call it after the
    tests of the maps, whose results page and report show.

    Args:
        folder: Folder of the run, or of the output; its maps are complete (`explanation.maps`).
        sources: Original files by branch.
        subject: The explained run.

    Returns:
        The page.

    Raises:
        ConfigError: There are no maps.
        UnreadableImageError: An original file cannot be read any more.
        StorageError: The disk is full or the folder cannot be written.
    """
    maps = map_files.read(folder)
    for old in (explanation_record.ORIGINALS, explanation_record.OVERLAYS, FILMS, CAPTURES, keys.FIGURES):
        shutil.rmtree(folder / keys.EXPLANATION / old, ignore_errors=True)
    sets = [_map_set(*name, maps.table, subject) for name in maps.arrays if name[1] in sources]
    if len(sources) > 1:
        sets = [replace(each, meaning=f"{each.meaning}, branch {each.branch}") for each in sets]
    chosen = chosen_rows(maps.table, subject)
    shown = explanation_record.gallery_rows(len(maps.table), chosen, len(sets))
    for branch, source in sources.items():
        of_branch = [each for each in sets if each.branch == branch]
        if of_branch:
            _Branch(folder / keys.EXPLANATION, maps, source, of_branch, chosen, subject).draw(shown)
    rules = {row: each.rule for row, each in chosen.items()}
    Record(subject.name, list(subject.classes), sets, shown, rules).write(folder / keys.EXPLANATION)
    return write_pages(folder)


def write_pages(folder: Path) -> Path:
    """Write the page of an explanation from its files and, of a run, the report again; return the page."""
    page = explanation_page.write(folder)
    if (folder / keys.CONFIG_FILE).is_file():
        run_page.write(folder)
    return page


def _map_set(method: str, branch: str, table: pd.DataFrame, subject: Subject) -> MapSet:
    known = METHODS[method]
    words = {name: vocabulary.end_point(subject.classes, k) for name, k in subject.endpoints.items()}
    target = explanation_record.target_in_words(table, subject.classes, words)
    meaning = f"{known.label} of {target}" if known.needs_target else known.label
    return MapSet(method, branch, known.label, known.signed, meaning)


def chosen_rows(table: pd.DataFrame, subject: Subject) -> dict[int, Choice]:
    """Choose the samples of the panels (`selection.choose`), by their row of the table."""
    chosen = selection.choose(selection.outcomes(table, subject.boundary))
    return {_row(table, each.sample_id): each for each in chosen}


def _row(table: pd.DataFrame, sample_id: str) -> int:
    return int((table[keys.SAMPLE_ID] == sample_id).to_numpy().argmax())


class _Branch:
    """The pictures of all maps of one branch, drawn in one pass over the original files."""

    def __init__(
        self,
        folder: Path,
        maps: map_files.Maps,
        source: Source,
        sets: Sequence[MapSet],
        chosen: Mapping[int, Choice],
        subject: Subject,
    ) -> None:
        self.folder, self.table, self.source = folder, maps.table, source
        self.arrays = {each: maps.arrays[each.method, each.branch] for each in sets}
        self.chosen, self.subject, self.classes = chosen, subject, subject.classes
        self.panels: dict[MapSet, dict[int, ExplainedSample]] = {each: {} for each in sets}
        self.means: dict[MapSet, dict[int, MeanMap]] = {each: {} for each in sets}
        self.times: dict[MapSet, list[np.ndarray]] = {each: [] for each in sets}

    def draw(self, shown: Sequence[int]) -> None:
        """Write overlays of the rows that are shown, films of the chosen ones, and the figures."""
        rows = sorted({*shown, *self.chosen})
        measured = rows[:: max(1, len(rows) // SCALED)]
        scales = {each: overlays.scale([array[measured]], each.signed) for each, array in self.arrays.items()}
        for row, sample_id in enumerate(self.table[keys.SAMPLE_ID]):
            if sample_id not in self.source.media:
                continue
            original = self.source.open(sample_id)
            for each, array in self.arrays.items():
                values = array[row].astype(np.float32)
                if np.isfinite(values).all():
                    self._add(row, each, original, values, scales[each] if row in rows else None)
        for each in self.arrays:
            self._save_figures(each)

    def _add(
        self, row: int, each: MapSet, original: Original, values: np.ndarray, scale: Scale | None
    ) -> None:
        """Take one map into the means, and draw it if it has a scale."""
        picture, heat = original.still(values)
        truth, predicted = (int(self.table[name].iloc[row]) for name in (keys.Y_TRUE, PREDICTED))
        self.means[each].setdefault(truth if truth >= 0 else predicted, MeanMap()).add(picture, heat)
        if original.clip is not None:
            over_time = heat_over_time(values)
            if (total := over_time.sum()) > 0:
                self.times[each].append(over_time / total)
        if scale is None:
            return
        name = f"{row:05d}.jpg"
        if each == next(iter(self.arrays)):  # of a film, maps of other methods may be of other frames
            _save_picture(picture, self.folder / explanation_record.ORIGINALS / each.branch / name)
        overlaid = overlays.overlay(picture, heat, scale)
        _save_picture(overlaid, self.folder / explanation_record.OVERLAYS / each.name / name)
        if self.source.is_dicom(self.table[keys.SAMPLE_ID].iloc[row]) and self._can_capture:
            frame = None if original.clip is None else original.hottest(values)[1]
            self._save_capture(row, each, overlaid, frame)
        if row in self.chosen:
            self.panels[each][row] = _sample(
                self.table.iloc[row], self.chosen[row], self.classes, picture, heat
            )
            if original.clip is not None:
                self._save_film(row, each, original, values, scale)

    @cached_property
    def _can_capture(self) -> bool:
        """Return whether DICOM files can be made; if not, warn, and make all other pictures."""
        try:
            secondary_capture.require()
        except ConfigError as error:
            _log.warning("%s", error)
            return False
        return True

    def _save_capture(self, row: int, each: MapSet, overlaid: np.ndarray, frame: int | None) -> None:
        sample = self.table.iloc[row]
        run = self.subject.run_id or self.subject.name
        patient = (sample[keys.PATIENT_ID] or sample[keys.SAMPLE_ID]) if self.subject.hashed else ""
        description = secondary_capture.Description(each.meaning, run, str(patient))
        source = self.source.media[str(sample[keys.SAMPLE_ID])]
        frames = int(secondary_capture.header(source.path).get("NumberOfFrames") or 1)
        if frame is None and frames > 1:  # a picture that is one frame of a film
            frame = source.view.frame_of(frames, source.path)
        content = secondary_capture.encoded(source.path, overlaid, description, frame)
        put(self.folder / CAPTURES / each.name / f"{row:05d}.dcm", content)

    def _save_film(
        self, row: int, each: MapSet, original: Original, values: np.ndarray, scale: Scale
    ) -> None:
        assert original.clip is not None
        frames = np.stack(list(original.overlaid(values, scale)))
        height, width = (side - side % 2 for side in frames.shape[1:3])  # H.264 takes even sides only
        path = make_folder(self.folder / FILMS / each.name) / f"{row:05d}.mp4"
        video.write(path, frames[:, :height, :width], original.clip.fps or UNKNOWN_RATE)

    def _save_figures(self, each: MapSet) -> None:
        folder = self.folder / keys.FIGURES
        samples = [self.panels[each][row] for row in self.chosen if row in self.panels[each]]
        save(figures.panels(samples, each.signed, each.meaning), folder / f"panels_{each.name}.png")
        if found := self.means[each]:
            means = {self.classes[k]: found[k].means() for k in sorted(found)}
            save(figures.mean_maps(means, each.signed, each.meaning), folder / f"mean_{each.name}.png")
        if times := self.times[each]:
            save(figures.over_time(np.stack(times)), folder / f"time_{each.name}.png")


def _sample(
    row: pd.Series, chosen: Choice, classes: Sequence[str], picture: np.ndarray, heat: np.ndarray
) -> ExplainedSample:
    truth = classes[chosen.y_true] if chosen.y_true >= 0 else ""
    predicted, probability = classes[int(row[PREDICTED])], float(row[PROBABILITY])
    return ExplainedSample(chosen.sample_id, chosen.rule, truth, predicted, probability, picture, heat)


def _save_picture(pixels: np.ndarray, path: Path) -> None:
    make_folder(path.parent)
    Image.fromarray(pixels).save(path, quality=JPEG_QUALITY)


@dataclass(frozen=True)
class Arm:
    """A run in a comparison of maps: its folder, the files of one of its branches, and its description."""

    folder: Path
    branch: str
    source: Source
    subject: Subject


def compare(folder: Path, arms: Mapping[str, Arm]) -> list[Path]:
    """Draw the maps of several runs on the same samples, one column a run, a figure for each shared method.

    The samples are chosen by the mean of the runs' predictions.

    Args:
        folder: Folder of the figures.
        arms: The runs by name, each explained.

    Returns:
        The PNG files.

    Raises:
        DataError: No sample has maps in all runs.
    """
    read = {name: map_files.read(arm.folder) for name, arm in arms.items()}
    first = next(iter(arms))
    shared = selection.shared([maps.table for maps in read.values()])
    chosen = selection.choose(selection.outcomes(shared, arms[first].subject.boundary))
    drawn = []
    for method in METHODS:
        if not all((method, arm.branch) in read[name].arrays for name, arm in arms.items()):
            continue
        rows = [
            {name: _sample_of_arm(arm, read[name], method, each) for name, arm in arms.items()}
            for each in chosen
        ]
        of_first = _map_set(method, arms[first].branch, read[first].table, arms[first].subject)
        drawn.append(save(figures.arms(rows, of_first.signed, of_first.label), folder / f"arms_{method}.png"))
    return drawn


def _sample_of_arm(arm: Arm, maps: map_files.Maps, method: str, chosen: Choice) -> ExplainedSample:
    row = _row(maps.table, chosen.sample_id)
    values = maps.arrays[method, arm.branch][row].astype(np.float32)
    shown = arm.source.open(chosen.sample_id).still(values)
    return _sample(maps.table.iloc[row], chosen, arm.subject.classes, *shown)
