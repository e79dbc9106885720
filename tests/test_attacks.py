from pathlib import Path

import pytest

from attack.harness import Attack, summary, try_attack
from attack.suite import attacks


@pytest.mark.parametrize("attack", [a for a in attacks() if not a.slow], ids=lambda a: f"{a.area}: {a.name}")
def test_attack_is_withstood(attack: Attack, tmp_path: Path) -> None:
    attack.run(tmp_path)


def test_an_attack_that_gets_through_is_counted(tmp_path: Path) -> None:
    def through(_: Path) -> None:
        raise AssertionError("the gate was open")

    outcomes = [
        try_attack(Attack("gates", "open", through), tmp_path / "a"),
        try_attack(Attack("gates", "shut", lambda _: None), tmp_path / "b"),
    ]
    assert "the gate was open" in outcomes[0].failure
    assert "tried    2  survived    1  failed    1" in summary(outcomes)
