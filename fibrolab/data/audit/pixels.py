"""Pixels: images that were decoded, but whose levels, colours or planes are hardly those of a scan."""

from collections.abc import Iterator
from typing import Any

import numpy as np

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
    return {"pixels": found}, list(_findings(found, highest, usual, len(names)))


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
