"""Passwords of addresses: moved into the environment before Hydra, masked in what is written."""

import os

import pytest
from compose import composed

from fibrolab.command_line import quoted
from fibrolab.credentials import VARIABLE, masked, to_environment

SECRET = "s3cr:et@7"
ADDRESSES = [
    f"postgresql://me:{SECRET}@host:5432/db",
    f"postgresql+psycopg2://me:{SECRET}@host/db?sslmode=require",
    f"http://:{SECRET}@host:5000",
    f"mysql://host/db?user=me&password={SECRET}",
]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in ("", "_2", "_3"):
        monkeypatch.setenv(f"{VARIABLE}{number}", "")
        monkeypatch.delenv(f"{VARIABLE}{number}")


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_password_is_masked_and_the_rest_of_its_address_is_shown(address: str) -> None:
    text = f"cannot open {address} (no host)"
    assert masked(text) == text.replace(SECRET, "***")


@pytest.mark.parametrize("address", ADDRESSES)
def test_hydra_sees_a_reference_and_the_setting_holds_the_address(address: str) -> None:
    words = quoted(to_environment([f"tracking.uri={address}", "seed=1"]))
    assert SECRET not in " ".join(words)
    assert os.environ[VARIABLE] == SECRET
    assert composed(*words).tracking.uri == address


def test_two_passwords_have_a_variable_each_and_equal_ones_share_it() -> None:
    words = to_environment(["a=x://me:one@h", "b=x://me:two@h", "c=x://you:one@h"])
    assert words == [
        "a=x://me:${oc.env:FIBROLAB_PASSWORD}@h",
        "b=x://me:${oc.env:FIBROLAB_PASSWORD_2}@h",
        "c=x://you:${oc.env:FIBROLAB_PASSWORD}@h",
    ]
    assert to_environment(words) == words


@pytest.mark.parametrize(
    "word",
    ["backbone@model.branches.image=tiny", "tracking.uri=sqlite:///a@b/mlflow.db", "http://host:5000/a@b"],
)
def test_words_without_a_password_stay_as_they_are(word: str) -> None:
    assert to_environment([word]) == [masked(word)] == [word]
