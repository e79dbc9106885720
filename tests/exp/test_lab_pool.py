"""The pool that is passed over once: its mix is the same whatever the seed, and any number of first problems is a random subset of it."""

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from paced_exp.core.errors import UserError
from paced_exp.data.lab.splits import SPLITS, lab_problems
from paced_exp.data.lab.stored import first_problems
from paced_exp.data.sources import load_problems

Drawn = list[tuple[str, int, str]]


@pytest.fixture(scope="module", params=["pool", "harder-pool", "easier-pool"])
def pool(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Drawn]:
    """The split and its problems: a level that runs dry would be drawn from without end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PACED_CACHE", str(tmp_path_factory.mktemp("cache")))
        problems = load_problems(f"lab:{request.param}", seed=8)
    return request.param, [(problem.metadata["family"], problem.metadata["level"], problem.prompt) for problem in problems]


def test_the_pool_has_its_quotas_and_no_prompt_twice(pool: tuple[str, Drawn]) -> None:
    split, drawn = pool
    quotas = SPLITS[split].quotas
    assert quotas is not None
    expected = {(name, level): count for name, counts in quotas.items() for level, count in enumerate(counts, 1) if count}
    assert Counter((family, level) for family, level, _ in drawn) == expected
    size = {"pool": 16_384, "harder-pool": 32_768, "easier-pool": 4_096}[split]
    assert len({prompt for *_, prompt in drawn}) == len(drawn) == sum(expected.values()) == SPLITS[split].size == size


def test_the_first_problems_are_a_random_subset(pool: tuple[str, Drawn]) -> None:
    """Of the first eighth each family has its share, within five standard deviations of drawing without replacement."""
    split, drawn = pool
    count_first = len(drawn) // 8
    first, every = Counter(family for family, *_ in drawn[:count_first]), Counter(family for family, *_ in drawn)
    for family, count in every.items():
        share = count / len(drawn)
        deviation = (count_first * share * (1 - share) * (1 - count_first / len(drawn))) ** 0.5
        assert abs(first[family] - count_first * share) < 5 * deviation
    alone = islice(lab_problems(split, 8), 300)
    assert [problem.prompt for problem in alone] == [prompt for *_, prompt in drawn[:300]]


def test_more_than_the_pool_has_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACED_CACHE", str(tmp_path))
    monkeypatch.setitem(SPLITS, "pool", SPLITS["pool"].__class__(SPLITS["pool"].families, (1,), range(60, 85), 3, {"chain_sum": (3,)}))
    with pytest.raises(UserError, match="`limit` 4: lab:pool has 3 problems"):
        load_problems("lab:pool", limit=4)


def test_drawn_problems_are_kept_and_read_back_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACED_CACHE", str(tmp_path / "cache"))
    first = load_problems("lab:train", limit=600, seed=3)
    (kept,) = (tmp_path / "cache" / "lab").iterdir()
    monkeypatch.setattr("paced_exp.data.lab.splits.lab_problems", lambda *_: pytest.fail("drawn again"))
    assert load_problems("lab:train", limit=600, seed=3) == first
    assert kept.name.startswith("train-3-600-")


def test_a_folder_that_cannot_be_written_costs_time_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PACED_CACHE", str(tmp_path / "file"))
    assert len(first_problems("train", 3, 500, lambda path: pytest.fail("read"), lambda problems, path: None)) == 500
    assert "cannot be written" in capsys.readouterr().err
