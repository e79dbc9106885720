"""The minimal detectable effect is that of textbook designs, is seen as often as it says, and rests on components that are recovered."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_checked
from paced_exp.reproduce import detectable
from paced_exp.reproduce.claims import Contrast
from paced_exp.reproduce.components import Components, FirstRecords, estimated
from paced_exp.reproduce.detectable import Plan, needed, plan_of, planned, planned_probe
from paced_exp.reproduce.planned import KIND, block, path_of, planned_effects
from paced_exp.reproduce.protocols import hypotheses_of
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import DESK, DESK_V1
from paced_exp.reproduce.significance import POWER, crossed
from tests.support.synthetic import write_row

ROOT = Path(__file__).resolve().parents[2]
SECOND = {hypothesis.name: hypothesis for hypothesis in hypotheses_of(2) if not hypothesis.later}
PAIR = Contrast("one-pass", ((1.0, "paced"), (-1.0, "uniform")))
OTHER = Contrast("one-pass", ((1.0, "paced"), (-1.0, "akl")))


def components(seed: float, problem: float, residual: float) -> Components:
    return Components(seed, seed, problem, residual, 0.0, 4, "")


def mde(contrasts: list[Contrast], parts: list[Components], plan: Plan, level: float = 0.05, draws: int = 400, seed: int = 0) -> float:
    found = needed(contrasts, parts, plan, (level,), np.random.default_rng(seed), draws)
    return float(np.quantile(found, POWER))


def test_of_many_seeds_and_problems_it_is_the_normal_approximation() -> None:
    """(z + z') sqrt(V_seed / S + V_problem / (T P) + V_residual / (S T P)), with so many seeds that t is normal."""
    plan, parts = Plan(60, (150, 150), 4), components(1.0, 90.0, 3000.0)
    error = np.sqrt(1.0 / 60 + 90.0 / 300 + 3000.0 / (60 * 300))
    for level in (0.05, 0.05 / 13):
        expected = (stats.norm.ppf(1 - level / 2) + stats.norm.ppf(0.8)) * error
        assert mde([PAIR], [parts], plan, level) == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("seeds", [3, 5])
def test_of_few_seeds_it_is_that_of_the_t_test(seeds: int) -> None:
    """Seeds alone vary: the estimator is the t test over seeds, whose power at the effect the noncentral t law gives exactly."""
    effect = mde([PAIR], [components(1.0, 0.0, 0.0)], Plan(seeds, (2,), 4), draws=3000)
    power = stats.nct.sf(stats.t.ppf(0.975, seeds - 1), seeds - 1, effect * np.sqrt(seeds))
    assert power == pytest.approx(POWER, abs=0.02)


def test_of_problems_alone_more_seeds_do_not_help() -> None:
    few, many = (mde([PAIR], [components(0.0, 50.0, 0.0)], Plan(seeds, (200, 200, 200), 4)) for seeds in (5, 10))
    expected = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * np.sqrt(50 / 600)
    assert few == pytest.approx(expected, rel=0.08) and many == pytest.approx(expected, rel=0.08)


def test_at_the_effect_four_of_five_studies_of_both_contrasts_decide() -> None:
    """Two contrasts with a row in common, drawn row by row in another way: both intervals exclude zero in 80 % at the effect, which is above one's."""
    plan, parts = Plan(5, (120,), 4), components(0.5, 60.0, 500.0)
    effect, alone = mde([PAIR, OTHER], [parts, parts], plan), mde([PAIR], [parts], plan)
    assert effect > 1.08 * alone
    rng = np.random.default_rng(5)

    def row() -> np.ndarray:
        draws = (rng.normal(size=shape) * np.sqrt(v / 2) for shape, v in (((5, 1), 0.5), ((1, 120), 60.0), ((5, 120), 500.0)))
        return np.asarray(sum(draws))

    seen = 0
    for _ in range(1500):
        paced, uniform, akl = row() + effect, row(), row()
        seen += all(crossed([paced - other]).low > 0 for other in (uniform, akl))
    assert seen / 1500 == pytest.approx(POWER, abs=0.04)


def test_the_same_contrast_twice_is_one() -> None:
    plan, parts = Plan(5, (50,), 4), components(0.5, 60.0, 500.0)
    assert mde([PAIR, PAIR], [parts, parts], plan) == mde([PAIR], [parts], plan)


def test_fewer_samples_leave_more_noise() -> None:
    parts = Components(0.0, 0.0, 0.0, 100.0, 400.0, 4, "")
    assert [parts.residual(samples) for samples in (4, 8, 1)] == [500.0, 300.0, 1700.0]
    assert parts.times(2.0) == Components(0.0, 0.0, 0.0, 200.0, 800.0, 4, "")


def test_the_components_of_drawn_studies_are_recovered() -> None:
    """Binomial samples around drawn probabilities of two rows: every component's mean over studies is the one drawn with."""
    rng = np.random.default_rng(1)
    samples, seeds, sizes = 4, 5, (300, 200)
    sd = {"seed": 0.02, "problem": 0.05, "interaction": 0.06}
    found = []
    for _ in range(60):
        of_seeds = sd["seed"] * rng.normal(size=(seeds, 1))
        strata, noise = [], []
        for size in sizes:
            level = rng.uniform(0.35, 0.65, size)
            half = of_seeds + sd["problem"] * rng.normal(size=(1, size)) + sd["interaction"] * rng.normal(size=(seeds, size))
            shares = [rng.binomial(samples, np.clip(level + sign * half / 2, 0, 1)) / samples for sign in (1, -1)]
            strata.append(100 * (shares[0] - shares[1]))
            noise.append(sum(float((share * (1 - share)).mean()) for share in shares) * 100**2 / (samples - 1))
        found.append(estimated(strata, float(np.mean(noise)), samples))
    mean = {name: np.mean([getattr(one, name) for one in found]) for name in ("seed", "problem", "interaction", "binomial")}
    assert mean["seed"] == pytest.approx((100 * sd["seed"]) ** 2, rel=0.25)
    assert mean["problem"] == pytest.approx((100 * sd["problem"]) ** 2, rel=0.2)
    assert mean["interaction"] == pytest.approx((100 * sd["interaction"]) ** 2, rel=0.4)
    # E p(1 - p) of a level uniform on 0.35 to 0.65, less the variance that the differences add to it.
    extra = sum(value**2 for value in sd.values()) / 4
    assert mean["binomial"] == pytest.approx(2 * 100**2 * (0.25 - 0.3**2 / 12 - extra) / samples, rel=0.02)


def test_noise_beyond_the_residual_is_cut_to_it() -> None:
    """Rows that answer with the same random streams have less noise in their difference than the sum of theirs."""
    found = estimated([np.random.default_rng(0).normal(size=(5, 100))], 500.0, 4)
    assert found.interaction == 0.0 and found.binomial == pytest.approx(1.0, rel=0.2)


@pytest.fixture
def first(tmp_path: Path) -> FirstRecords:
    for table, row, accuracy in (("distillation", "paced", 0.5), ("distillation", "uniform", 0.45), ("distillation", "akl", 0.55)):
        write_row(tmp_path, table, row, accuracy)
    return FirstRecords(Results(tmp_path), DESK_V1)


def test_components_are_of_the_same_rows_where_there_are_such(first: FirstRecords) -> None:
    own, pooled = first.components(PAIR), first.components(SECOND["A.aligned"].contrasts[0])
    assert own.origin == "distillation/paced − distillation/uniform" and pooled.origin == "median over 3 pairs of rows, distillation"
    assert (own.seed, own.cautious) == (pooled.seed, pooled.cautious)
    # The synthetic rows are binomial around one level: that noise is all there is.
    assert own.binomial + own.interaction == pytest.approx(2 * 100**2 * 0.25 / 4, rel=0.1)
    assert own.binomial > 0.9 * (own.binomial + own.interaction)


def test_a_difference_of_the_same_row_there_is_not_taken_for_no_difference(first: FirstRecords) -> None:
    """Both regimes have the first protocol's one row of equal updates: components of zero would promise that everything is seen."""
    four = first.components(SECOND["R.equal-updates"].contrasts[0])
    two = first.components(SECOND["A.aligned"].contrasts[0])
    assert four.binomial == pytest.approx(2 * two.binomial) and four.origin == two.origin


def test_a_setup_without_records_is_refused(first: FirstRecords) -> None:
    with pytest.raises(UserError, match="fewer than two rows of setup llama with seeds 0 to 4"):
        first.components(SECOND["C11.llama"].contrasts[0])


def test_the_plan_is_that_of_the_scale() -> None:
    assert plan_of(PAIR, DESK) == Plan(10, (1834, 1834, 1834), 4)
    assert plan_of(SECOND["C4.one-pass"].contrasts[0], DESK) == Plan(10, (1834,), 4)
    assert plan_of(SECOND["R.regime"].contrasts[0], DESK).seeds == 5  # the fewer of both tables


@pytest.fixture(scope="module")
def committed() -> dict[str, dict[str, object]]:
    return {row["hypothesis"]: row for row in read_checked(path_of(ROOT / "results", DESK), KIND)["hypotheses"]}


def test_the_committed_plan_is_that_of_the_records_and_the_claims(committed: dict[str, dict[str, object]]) -> None:
    """All components anew; the simulation, which takes half a minute, of two hypotheses."""
    records = FirstRecords(Results(ROOT / "results"), DESK_V1)
    assert list(committed) == list(SECOND)
    primaries = sum(hypothesis.primary for hypothesis in SECOND.values())
    for name, hypothesis in SECOND.items():
        row = committed[name]
        assert (row["primary"], row["corrected"] is not None) == (hypothesis.primary, hypothesis.primary)
        if not hypothesis.contrasts:
            assert row == pytest.approx(planned_probe(hypothesis, ROOT / "results", DESK, 0.05 / primaries)), "run: detectable"
            continue
        stored = row["components"]
        assert isinstance(stored, list)
        for contrast, old in zip(hypothesis.contrasts, stored, strict=True):
            new = vars(records.components(contrast))
            assert old == pytest.approx(new), "run: python -m paced_exp.reproduce.detectable"
    for name in ("C10.quarter", "C4.self"):
        again = planned(SECOND[name], records, DESK, 0.05 / primaries)
        for effect in ("alone", "corrected", "cautious"):
            assert committed[name][effect] == (None if again[effect] is None else pytest.approx(again[effect], rel=1e-3))


def test_the_plan_sees_more_than_the_first_protocol_did(committed: dict[str, dict[str, object]]) -> None:
    """What the page says: 1.1 points alone and 1.6 corrected before."""
    judged = json.loads((ROOT / "results" / "claims.json").read_text())["scales"]["desk-v1"][1]["findings"][0]
    row = committed["C2.one-pass"]
    assert judged["hypothesis"] == "C2.distillation" and isinstance(row["alone"], float) and isinstance(row["corrected"], float)
    assert row["alone"] < judged["seen"] / 2 and row["corrected"] < judged["seen_holm"] / 2
    said = (ROOT / "docs" / "protocol-v2.md").read_text()
    assert f"was {judged['seen']:.1f} points alone and {judged['seen_holm']:.1f}\n" in said


def test_the_table_on_the_page_is_that_of_the_record() -> None:
    page = (ROOT / "docs" / "protocol-v2.md").read_text()
    table = page.split(detectable.BEGIN)[1].split(detectable.END)[0].strip()
    assert table == block(planned_effects(ROOT / "results", DESK), 2), "run: python -m paced_exp.reproduce.detectable"
    assert table.count("**primary**") == 13


def test_the_command_writes_record_and_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{detectable.BEGIN}\n{detectable.END}\nafter\n")
    content = {"kind": KIND, "hypotheses": list(planned_effects(ROOT / "results", DESK).values())}
    monkeypatch.setattr(detectable, "content_of", lambda results, scale: content)
    detectable.main(["--results", str(tmp_path), "--page", str(page)])
    assert planned_effects(tmp_path, DESK).keys() == SECOND.keys()
    assert page.read_text().startswith(f"before\n{detectable.BEGIN}\n| claim") and page.read_text().endswith(f"{detectable.END}\nafter\n")
    with pytest.raises(UserError, match="--scale desk-v1 follows the first protocol"):
        detectable.main(["--scale", "desk-v1"])
    with pytest.raises(UserError, match=r"--page .*none\.md is not a file"):
        detectable.main(["--page", str(tmp_path / "none.md")])
    page.write_text("no markers")
    with pytest.raises(UserError, match="must have <!-- hypotheses:begin -->"):
        detectable.main(["--results", str(tmp_path), "--page", str(page)])


def test_the_probes_effect_is_that_of_its_errors(committed: dict[str, dict[str, object]]) -> None:
    """Of the first probe's intervals by hand: 1.6 times the standard error of the end, and half that of two middle ranges."""
    record = json.loads((ROOT / "results" / "desk-v1" / "snr_verdict" / "qwen3" / "record.json").read_text())
    errors = [1.6 * (row["snr_squared_high"] - row["snr_squared_low"]) / 3.92 for row in record["bins"]]
    middle = [error for error, row in zip(errors, record["bins"], strict=True) if 0.3 <= row["pass_rate"] <= 0.7]
    assert len(middle) == 5 and {row["n"] for row in record["bins"]} == {2000}
    error = np.sqrt(errors[0] ** 2 + np.mean(np.square(middle)) / 2 / 4)
    assert committed["C1.low"]["alone"] == pytest.approx(2.8016 * error, rel=1e-3)
