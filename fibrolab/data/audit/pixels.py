"""Pixels: images that were decoded, but whose levels, colours or planes are hardly those of a scan."""

from collections.abc import Iterator
from typing import Any

from fibrolab import keys
from fibrolab.data.audit.evidence import Evidence
from fibrolab.data.audit.finding import Finding, counted, listed

LOW = 63  # highest level of an image that uses a quarter of the range: two of its eight bits are empty
IMPOSSIBLE = 0.1  # proportion of pixels with impossible colours from which a colour space is mislabelled
SATURATED = 250  # mean level from which an image is nearly white


def pixels(evidence: Evidence) -> tuple[dict[str, Any], list[Finding]]:
    """Name images of low range, of one level, with impossible colours, and with planes read as pixels."""
    facts = evidence.facts
    flat = (facts["highest"] == facts["lowest"]).to_numpy()
    kinds = {
        "low_range": ~flat & (facts["highest"] <= LOW).to_numpy(),
        "flat": flat,
        "saturated": ~flat & (facts["mean"] >= SATURATED).to_numpy(),
        "impossible_colours": (facts["impossible_colours"] >= IMPOSSIBLE).to_numpy(),
        "tiled_planes": (facts["tiled"] > 0).to_numpy(),
    }
    names = evidence.manifest.table[keys.SAMPLE_ID]
    found: dict[str, Any] = {kind: names[rows].tolist() for kind, rows in kinds.items()}
    highest = int(facts["highest"][kinds["low_range"]].max()) if kinds["low_range"].any() else 0
    return {"pixels": found}, list(_findings(found, highest, len(names)))


def _findings(found: dict[str, Any], highest: int, samples: int) -> Iterator[Finding]:
    def named(kind: str, words: str) -> str:
        number = counted(len(found[kind]), "image")
        return f"{number} of {samples:,} {words}: {listed(map(str, found[kind]), most=3)}."

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
