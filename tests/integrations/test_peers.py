"""The versions of other people's trainers: one range a peer, the same in the package's requirements, and a line where it is not kept."""

import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from paced_exp.core.errors import UserError
from paced_exp.integrations import peers

EXTRAS = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.mark.parametrize("name", [name for name in peers.RANGES if name in EXTRAS])
def test_the_extra_installs_what_is_accepted(name: str) -> None:
    (wanted,) = [Requirement(text).specifier for text in EXTRAS[name] if Requirement(text).name == name]
    assert wanted == Requirement(f"{name}{peers.RANGES[name]}").specifier


@pytest.mark.parametrize(
    ("found", "kept"), [("1.9.2", False), ("1.10.0", True), ("1.16.0", True), ("1.16.1.dev0", True), ("1.17.0", False)]
)
def test_a_version_outside_the_range_is_refused(found: str, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: found)
    if kept:
        peers.require("trl")
    else:
        with pytest.raises(UserError, match=rf"trl {found} is installed, .* accepts >=1.10,<1.17 only; run: pip install 'trl>=1.10,<1.17'"):
            peers.require("trl")


def test_a_missing_peer_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(UserError, match=r"trl is not installed; run: pip install 'trl>=1\.10,<1\.17'"):
        peers.require("trl")
