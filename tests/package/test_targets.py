"""Importing and calling targets that a config names, and the errors."""

import sys
from pathlib import Path

import pytest

from fibrolab.errors import ConfigError
from fibrolab.targets import call, imported


def test_a_class_of_any_module_is_imported() -> None:
    assert imported("pathlib.Path", "model._target_") is Path


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("Path", "x._target_=Path is not a dotted path"),
        ("no_such_package.Net", r"cannot be imported \(No module named 'no_such_package'\)"),
        ("pathlib.Pathos", "the module pathlib has no Pathos"),
        ("collections.abc.Sized", "has no __len__, which its base class demands"),
    ],
)
def test_an_invalid_path_is_refused(path: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        imported(path, "x._target_")


def test_an_error_within_the_users_module_keeps_its_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_broken.py").write_text("1 / 0")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(ZeroDivisionError):
        imported("own_broken.Net", "x._target_")


def test_settings_that_a_target_does_not_take_are_refused_with_its_signature() -> None:
    def build(size: int) -> int:
        return 2 * size

    assert call(build, "x", size=3) == 6
    with pytest.raises(
        ConfigError, match=r"x: .*build does not take these settings \(.*'sise'\).*\(size: int\)"
    ):
        call(build, "x", size=1, sise=3)
    with pytest.raises(ConfigError, match="missing a required argument: 'size'"):
        call(build, "x")
