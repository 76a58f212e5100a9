"""Settings that are refused before any data is read."""

import pytest
from compose import composed

from fibrolab.config import removed_settings_named, resolved
from fibrolab.errors import ConfigError
from fibrolab.training import checks


def name_faults(*overrides: str) -> list[str]:
    config = composed(*overrides)
    return list(checks._name_faults(resolved(config.model), resolved(config.loss)))


def test_misspelt_names_are_refused_all_at_once_before_any_data() -> None:
    config = composed(
        "model=hybrid",
        "model.branches.a.name=resnet180",
        "model.branches.b.name=vit_smal_patch16_224",
        "loss.name=focl",
    )
    with pytest.raises(ConfigError) as refused:
        checks.check(config)
    sentences = str(refused.value).splitlines()
    assert "3 settings cannot be used" in sentences[0]
    assert "model.branches.a: backbone: there is no 'resnet180'. Did you mean resnet18" in sentences[1]
    assert "model.branches.b: backbone" in sentences[2]
    assert "vit_small_patch16_224" in sentences[2]
    assert "loss.name: there is no 'focl'. It is one of:" in sentences[3]


def test_names_with_a_target_and_of_clinical_branches_are_not_checked() -> None:
    own = (
        "model=multimodal",
        "+clinical@model.branches.clinical=lsm",
        "model.branches.grey.name=mine",
        "loss.name=own",
    )
    targets = ("+model.branches.grey._target_=torch.nn.Identity", "+loss._target_=fibrolab.losses.Focal")
    assert name_faults(*own, *targets) == []
    assert [fault.partition(":")[0] for fault in name_faults(*own)] == ["model.branches.grey", "loss.name"]


@pytest.mark.parametrize("name", ["task.endpoints", "augment.transforms", "callbacks"])
def test_a_setting_that_was_removed_is_named(name: str) -> None:
    with pytest.raises(
        ConfigError, match=f"The setting {name.rpartition('.')[2]} is missing: it was removed"
    ):
        checks.check(composed(f"~{name}"))


def test_a_missing_key_that_is_no_setting_is_not_a_fault_of_the_user() -> None:
    with pytest.raises(KeyError, match="no_setting"), removed_settings_named():
        raise KeyError("no_setting")
