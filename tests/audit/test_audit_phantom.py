"""The audit of many data sets: no findings on clean ones, and the faults of the phantom are found."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from audit_case import audited, clean, levels

from fibrolab import keys
from fibrolab.auditing import thumbnails_of
from fibrolab.data.survey import survey
from fibrolab.phantom import source


@pytest.mark.slow
def test_none_of_twenty_clean_data_sets_causes_a_finding() -> None:
    for seed in range(20):
        assert set(levels(_confounded_by_chance(seed))) <= {"small_classes"}, seed


def _confounded_by_chance(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    manifest, facts = clean(60, seed)
    facts = facts.assign(width=rng.choice([640, 600, 512], 60), format=rng.choice(["PNG", "JPEG"], 60))
    facts["border_left"] = rng.random(60) / 2
    columns = {keys.SCANNER: rng.choice(["a", "b", "c"], 60), keys.SITE: rng.choice(["north", "south"], 60)}
    return audited(replace(manifest, table=manifest.table.assign(**columns)), facts)


@pytest.mark.slow
def test_a_clean_phantom_has_the_verdict_ok(tmp_path: Path) -> None:
    manifest = source.load(root=tmp_path, size=64)
    facts = survey(manifest.media(), tmp_path / "cache")
    found = audited(manifest, facts, thumbnails=partial(thumbnails_of, manifest, tmp_path / "cache"))
    assert (found["verdict"], found["warnings"]) == ("ok", [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("knob", "keys_found"),
    [
        ({"duplicates": 0.1}, {"copies"}),
        ({"leak": 0.2}, {"copies", "exact_leak"}),
        ({"shortcut": 0.9}, {"confounding", "size_baseline", "acquisition_baseline"}),
    ],
)
def test_the_faults_of_the_phantom_are_found(knob: dict, keys_found: set[str], tmp_path: Path) -> None:
    manifest = source.load(root=tmp_path, patients=180, images_per_patient=2, size=48, **knob)
    facts = survey(manifest.media(), tmp_path / "cache")
    found = audited(manifest, facts, thumbnails=partial(thumbnails_of, manifest, tmp_path / "cache"))
    assert {key for key, level in levels(found).items() if level != "note"} == keys_found
