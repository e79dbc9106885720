"""Progress moves while work goes on, and its ETA is that of the work's own pace."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from paced_exp.core.progress import Bar, progress
from paced_exp.rollouts.engine import Prompt, Sampling, Watch
from paced_exp.rollouts.groups import RunContext, made_once
from paced_exp.rollouts.hf import HFEngine
from tests.support.tiny_models import loaded, tiny_model


class Clock:
    """Seconds that pass when told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("tqdm.std.time", made)
    return made


def eta(bar: Bar) -> float | None:
    """Seconds that the bar says are left."""
    found = re.search(r"<([\d:]+),", str(bar))
    if found is None:
        return None
    seconds = 0.0
    for part in found[1].split(":"):
        seconds = 60 * seconds + int(part)
    return seconds


def test_a_slow_first_item_is_not_extrapolated(clock: Clock) -> None:
    """The first of 720 items takes 8 s to start up and all others 0.1 s each: 80 s of work, not an hour and a half."""
    bar = progress(720, "items", "work")
    clock.now += 8
    bar.update()
    assert eta(bar) is None and "? items/s" in str(bar)
    seen = []
    for done in range(2, 721):
        clock.now += 0.1
        bar.update()
        seen.append((eta(bar), 0.1 * (720 - done)))
    told = [pair for pair in seen if pair[0] is not None]
    assert len(told) > 600 and all(abs(said - true) <= 1 + 0.05 * true for said, true in told)
    bar.close()


def test_items_that_finish_in_batches_are_paced_by_the_batches(clock: Clock) -> None:
    bar = progress(500, "items", "work")
    for batch in range(10):
        clock.now += 50
        bar.update()
        printed = eta(bar)
        assert printed is None if batch < 2 else printed == pytest.approx(50 * (10 - batch), abs=2)
        for _ in range(49):
            clock.now += 0.001
            bar.update()
        assert eta(bar) == pytest.approx(50 * (9 - batch), rel=0.03, abs=1) or batch == 0
    assert "500/500 [08:20<00:00" in str(bar)
    bar.close()


def test_what_was_stored_before_has_no_part_in_the_rate(clock: Clock) -> None:
    bar = progress(1000, "items", "work", initial=900)
    for _ in range(50):
        clock.now += 1
        bar.update()
    assert eta(bar) == 50 and "95%" in str(bar)
    bar.close()


def test_tokens_move_the_line_where_no_rollout_has_finished(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    bar = progress(8, "rollouts", "work")
    clock.now += 11
    bar.watch(0, 640)
    assert "0/8" in capsys.readouterr().err.splitlines()[-1].split("\r")[-1] and "640 tokens" in str(bar)
    bar.close()


@pytest.mark.parametrize("request_", [{"samples": 6, "temperature": 1.0}, {"samples": 3, "temperature": 0.0}])
def test_the_engine_tells_of_rollouts_before_it_yields_them(request_: dict[str, Any]) -> None:
    engine = HFEngine(loaded(tiny_model()), max_batch_tokens=4000)
    prompts = [Prompt(f"p{index}", [5 + index, 6, 7]) for index in range(5)]
    told: list[tuple[int, int]] = []
    groups = engine.generate(prompts, Sampling(max_new_tokens=20, seed=0, **request_), watch=lambda *step: told.append(step))
    assert told == [], "nothing is generated before it is asked for"
    made = [next(groups)]
    assert len(told) > 1, "one batch, many calls"
    made += groups
    assert sum(step[0] for step in told) == sum(map(len, made)) == 5 * request_["samples"]
    assert sum(step[1] for step in told) == sum(len(rollout.token_ids) for group in made for rollout in group)


def test_a_group_of_problems_moves_the_bar_while_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stood at 0 of 200 and jumped to all of them: a group is stored whole, and told of by rollouts."""
    engine, shown = HFEngine(loaded(tiny_model())), []
    update = Bar.update

    def spy(self: Bar, n: float | None = 1) -> bool | None:
        done = update(self, n)
        shown.append((self.n, self.total))
        return done

    monkeypatch.setattr(Bar, "update", spy)
    prompts = {f"p{index}": Prompt(f"p{index}", [5 + index % 7, 6, 7]) for index in range(40)}
    context: Any = RunContext(tmp_path, engines=None, grader=None)  # type: ignore[arg-type]

    def generate(group: list[Prompt], watch: Watch | None) -> Iterator[list[dict[str, Any]]]:
        torch.manual_seed(0)
        for rollouts in engine.generate(group, Sampling(4, 20, temperature=1.0, seed=0), watch=watch):
            yield [{"problem_id": rollout.problem_id, "sample": rollout.sample} for rollout in rollouts]

    def run() -> None:
        shown.clear()
        made_once(context, "made", prompts, generate, description="pass rates", samples=4, size=32)

    run()
    assert shown[-1] == (160, 160) and len({count for count, _ in shown}) > 10
    journal = tmp_path / "made.jsonl"
    journal.write_bytes(journal.read_bytes().splitlines(keepends=True)[0])
    run()
    assert shown[0][0] >= 128 and shown[-1] == (160, 160), "what a former run stored is not counted again"
