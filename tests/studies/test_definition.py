"""Definitions of studies: those of the package are whole, and every fault of a file is named."""

from pathlib import Path

import pytest
import yaml

from fibrolab.errors import ConfigError
from fibrolab.evaluation.measures import catalogue
from fibrolab.studies import definition, trainings
from fibrolab.studies.definition import SIZES

ROOT = Path(__file__).parents[2]
WHOLE = {
    "arms": {
        "a": {"settings": ["model=single"]},
        "b": {"settings": ["model=single"], "weights": {"image": "a"}},
    },
    "protocols": {"audited": {"settings": ["split=grouped"]}},
    "measures": ["accuracy"],
}


def written(folder: Path, **changed: object) -> Path:
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**WHOLE, **changed}))
    return path


@pytest.mark.parametrize("name", definition.names(ROOT))
def test_the_studies_of_the_package_are_whole(name: str) -> None:
    study = definition.read(name, ROOT)
    for measure in study.measures:
        assert catalogue.find(measure), measure
    for size in SIZES:
        places = trainings.places(study, size)
        assert {place.protocol for place in places} == set(study.protocols)
        assert len(set(places)) == len(places)
    assert {place.arm for place in trainings.places(study, "full")} == set(study.arms)


def test_each_wave_needs_earlier_ones_only() -> None:
    waves = definition.read("paper4", ROOT).waves()
    order = [arm.name for wave in waves for arm in wave]
    assert order.index("gm_em") > max(order.index("gm"), order.index("em"))
    assert order.index("gm_lsm") > order.index("gm_folds")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"arms": {}}, "arms is missing"),
        ({"arm": {}}, "there is no 'arm'"),
        ({"seeds": "0"}, "seeds=0 is not a list"),
        ({"seeds": [-1]}, "seeds: -1 is not a whole number from 0"),
        ({"arms": {"a": {"experimet": "x"}}}, "arms.a: there is no 'experimet'"),
        ({"arms": {"a": {}}}, "arms.a names neither an experiment"),
        ({"arms": {"a": {"settings": ["split"]}}}, "split is not a setting such as split=grouped"),
        ({"arms": {"a": {"settings": ["x=1"], "stack": ["c"]}}}, "arms.a: there is no 'c'"),
        (
            {"arms": {"a": {"settings": ["x=1"], "label": "b"}, "b": {"settings": ["x=2"]}}},
            r"arms a and b have the same label \(b\): give each its own",
        ),
        (
            {"protocols": {"p": {"label": "audited"}, "q": {"label": "audited"}}},
            r"protocols p and q have the same label \(audited\)",
        ),
        ({"protocols": {"p": {"arms": {"c": ["x=1"]}}}}, "protocols.p.arms: there is no 'c'"),
        ({"sizes": {"tiny": {}}}, "sizes: there is no 'tiny'"),
        ({"sizes": {"small": {"without": {"c": "no"}}}}, "sizes.small.arms: there is no 'c'"),
        ({"sizes": {"small": {"without": {"a": {"c": "no"}}}}}, "sizes.small.protocols: there is no 'c'"),
        ({"sizes": {"small": {"one_seed": ["c"]}}}, "sizes.small.one_seed: there is no 'c'"),
        (
            {
                "arms": {"a": {"settings": ["x=1"]}, "b": {"settings": ["x=2"], "weights": {"image": "a"}}},
                "sizes": {"small": {"one_seed": ["a"]}},
            },
            "sizes.small.one_seed: b needs the runs of a with every seed: name b too",
        ),
        ({"sizes": {"small": {"protocols": {"p": ["x=1"]}}}}, "sizes.small.protocols: there is no 'p'"),
        ({"reference": "c"}, "reference: there is no 'c'"),
        (
            {"arms": {n: {"settings": ["x=1"], "stack": [o]} for n, o in (("a", "b"), ("b", "a"))}},
            "arms a, b need each other's runs",
        ),
    ],
)
def test_faults_are_named(tmp_path: Path, changed: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        definition.read(str(written(tmp_path, **changed)), tmp_path)


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        definition.read(str(written(tmp_path, reference="c", seeds=[True])), tmp_path)
    assert "reference" in str(caught.value)
    assert "seeds: True" in str(caught.value)


def test_a_study_that_does_not_exist_or_is_no_yaml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no 'papr1'.*paper1"):
        definition.read("papr1", tmp_path)
    with pytest.raises(ConfigError, match="there is no file"):
        definition.read("mine/study.yaml", tmp_path)
    (tmp_path / "study.yaml").write_text("arms: [")
    with pytest.raises(ConfigError, match="cannot be read as YAML"):
        definition.read(str(tmp_path), tmp_path)
    (tmp_path / "study.yaml").write_text("- arms")
    with pytest.raises(ConfigError, match="holds no settings"):
        definition.read(str(tmp_path / "study.yaml"), tmp_path)


def test_a_study_of_the_project_comes_before_that_of_the_package(tmp_path: Path) -> None:
    own = tmp_path / "experiments" / "paper1"
    own.mkdir(parents=True)
    written(own, title="Ours")
    assert definition.read("paper1", tmp_path).title == "Ours"
    assert definition.read(str(own), tmp_path).name == "paper1"
