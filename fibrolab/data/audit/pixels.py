"""Pixels: levels, colours and planes that are hardly those of a scan; shapes and profiles that differ."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data.audit.acquisition import joined
from fibrolab.data.audit.evidence import Evidence
from fibrolab.data.audit.finding import Finding, counted, listed

LOW = 63  # highest level of an image that uses a quarter of the range: two of its eight bits are empty
IMPOSSIBLE = 0.1  # proportion of pixels with impossible colours from which a colour space is mislabelled
SATURATED = 250  # mean level from which an image is nearly white
WITH_ALPHA = (
    "RGBA",
    "LA",
    "PA",
)  # modes with a channel of transparency; what is transparent is read as black
PROFILED = 10  # levels from which the shift by a colour profile counts: that of Adobe RGB is 9, near black
ALIKE = 1.02  # largest shape of a picture divided by the smallest, up to which all are stretched alike
# From this number of images, of which this proportion has one size, the others are the odd ones out.
FEWEST, ONE_SIZE = 20, 0.95


def pixels(evidence: Evidence) -> tuple[dict[str, Any], list[Finding]]:
    """Name images of low range, of one level, of an odd size, with impossible colours or tiled planes."""
    facts = evidence.facts
    transparent = (facts["mode"].isin(WITH_ALPHA) & (facts["highest"] == 0)).to_numpy()
    flat = ~transparent & (facts["highest"] == facts["lowest"]).to_numpy()
    kinds = {
        "transparent": transparent,
        "low_range": ~flat & ~transparent & (facts["highest"] <= LOW).to_numpy(),
        "flat": flat,
        "saturated": ~flat & (facts["mean"] >= SATURATED).to_numpy(),
        "impossible_colours": (facts["impossible_colours"] >= IMPOSSIBLE).to_numpy(),
        "tiled_planes": (facts["tiled"] > 0).to_numpy(),
    }
    names = evidence.manifest.table[keys.SAMPLE_ID]
    found: dict[str, Any] = {kind: names[rows].tolist() for kind, rows in kinds.items()}
    highest = int(facts["highest"][kinds["low_range"]].max()) if kinds["low_range"].any() else 0
    usual, other = _sizes(joined(facts, ("width", "height")))
    found["odd_size"] = names[other].tolist()
    shapes, profiles = (_by_value(each, evidence) for each in (pixel_shapes(facts), profile_shifts(facts)))
    pictures = facts["cut_height"] * facts["pixel_aspect"] / facts["cut_width"]
    is_alike = bool(pictures.max() <= ALIKE * pictures.min())
    findings = [*_findings(found, highest, usual, len(names)), *_unused(shapes, is_alike, profiles)]
    return {"pixels": found, "pixel_aspect": shapes, "profile_shift": profiles}, findings


def pixel_shapes(facts: pd.DataFrame) -> np.ndarray:
    """Return height by width of the pixels of each image, to two digits, (N,)."""
    return facts["pixel_aspect"].to_numpy(float).round(2)


def profile_shifts(facts: pd.DataFrame) -> np.ndarray:
    """Return by how many levels a colour profile shows a grey otherwise, (N,): 0 below `PROFILED`."""
    shifts = facts["profile_shift"].to_numpy(np.int64)
    return np.where(shifts < PROFILED, 0, shifts)


def _by_value(values: np.ndarray, evidence: Evidence) -> list[dict[str, Any]]:
    """Return each value, the number of images that have it, and how many of them are in each partition."""
    parts = np.asarray(evidence.split.partitions)
    return [
        {"value": value.item(), "images": int((values == value).sum())}
        | {name: int(((values == value) & (parts == name)).sum()) for name in keys.PARTITIONS}
        for value in np.unique(values)
    ]


def _unused(
    shapes: list[dict[str, Any]], is_alike: bool, profiles: list[dict[str, Any]]
) -> Iterator[Finding]:
    """Yield findings on the shape of pixels and on colour profiles, which are not used.

    A picture is scaled to a square, so that its own shape stretches it, whatever its pixels are.

    Args:
        shapes: Shapes of the pixels, see `_by_value`.
        is_alike: Whether all pictures have one shape, measured in lengths.
        profiles: Shifts by colour profiles.
    """

    def named(rows: list[dict[str, Any]]) -> str:
        return listed(
            f"{row['value']:g} in {counted(row['images'], 'image')} ({row[keys.TEST]:,} in test)"
            for row in rows
        )

    differs = f"Not all pixels are square: height by width is {named(shapes)}."
    if len(shapes) > 1 and not is_alike:
        sentence = f"{differs} Scaled to a square, the pictures are stretched differently."
        yield Finding("pixel_aspect", "warning", sentence)
    elif len(shapes) > 1 or shapes[0]["value"] != 1:
        sentence = f"{differs} They are shown as if they were square."
        yield Finding("pixel_aspect", "note", sentence)
    unused = "Colour profiles are not applied, and show greys otherwise than they are stored"
    if len(profiles) > 1:
        sentence = f"{unused}, by up to so many of 255 levels: {named(profiles)}."
        yield Finding("colour_profile", "warning", sentence)
    elif profiles[0]["value"]:
        sentence = f"{unused}, by up to {profiles[0]['value']} of 255 levels in every image."
        yield Finding("colour_profile", "note", sentence)


def _sizes(sizes: np.ndarray) -> tuple[str, np.ndarray]:
    """Return the size that nearly all images have, and which do not, bool (N,): none without such a size."""
    values, counts = np.unique(sizes, return_counts=True)
    usual = str(values[counts.argmax()])
    nearly_all = len(sizes) >= FEWEST and counts.max() >= ONE_SIZE * len(sizes)
    return usual.replace(" ", " x "), (sizes != usual) & nearly_all


def _findings(found: dict[str, Any], highest: int, usual: str, samples: int) -> Iterator[Finding]:
    def named(kind: str, words: str) -> str:
        number = counted(len(found[kind]), "image")
        return f"{number} of {samples:,} {words}: {listed(map(str, found[kind]), most=3)}."

    if found["transparent"]:
        words = "that are black with a channel of transparency, which seems to be 0 everywhere"
        yield Finding("transparent", "warning", named("transparent", words))
    if found["low_range"]:
        words = f"with no grey level above {highest} of 255, as of files with 8 or 12 bits in 16"
        yield Finding("low_range", "warning", named("low_range", words))
    if found["flat"]:
        yield Finding("flat", "warning", named("flat", "with one grey level only"))
    if found["saturated"]:
        yield Finding("saturated", "warning", named("saturated", "that are nearly white"))
    if found["impossible_colours"]:
        words = "with colours that no scan has: YCbCr labelled as RGB, or RGB labelled as YCbCr"
        yield Finding("impossible_colours", "warning", named("impossible_colours", words))
    if found["tiled_planes"]:
        words = "that show three by three copies of one picture: colours by plane labelled as by pixel"
        yield Finding("tiled_planes", "warning", named("tiled_planes", words))
    if found["odd_size"]:
        words = f"of another size than {usual} pixels, which all others have"
        yield Finding("odd_size", "note", named("odd_size", words))
