"""The commands of docs/neighbours.md are valid, and every method of its table has a section."""

import re
import shlex
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from paced_exp.core import config as configs
from paced_exp.core.json_files import read_checked, read_object
from paced_exp.data.lab.splits import lab_problems
from paced_exp.evaluation.compress_config import CompressConfig
from paced_exp.reproduce.compressed_findings import costs
from paced_exp.reproduce.grids import BY_NAME
from paced_exp.reproduce.measures import combined, measure_row
from paced_exp.reproduce.neighbour_findings import QUESTIONS
from paced_exp.reproduce.printed_table import fixed, signed
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import DESK
from paced_exp.reproduce.verdicts import finding_of
from paced_exp.training.config import DistillConfig
from paced_exp.training.teacher_config import PRESETS, TeacherConfig

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, PROTOCOL = ((DOCS / name).read_text() for name in ("neighbours.md", "protocol-v2.md"))
CONFIGS: dict[str, Any] = {"paced_exp.teacher": TeacherConfig, "paced_exp.distill": DistillConfig, "paced_exp.compress": CompressConfig}
COMMANDS = [line for block in re.findall(r"^```console\n(.*?)^```", PAGE, re.M | re.S) for line in block.splitlines()]


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.split()[2] in CONFIGS])
def test_commands_parse(line: str) -> None:
    python, flag, module, *arguments = shlex.split(line)
    assert (python, flag) == ("python", "-m")
    arguments = ["hf" if word == "vllm" else word for word in arguments]
    configs.parse(CONFIGS[module], arguments, module, "")


def test_every_option_that_a_row_sets_is_on_the_page() -> None:
    for row in BY_NAME["neighbours"].rows:
        for option, value in (row.options or {}).items():
            if option in ("regime", "method", "learning_rate"):
                continue
            spelt = f"--{option.replace('_', '-')} {value:g}" if isinstance(value, float) else f"--{option.replace('_', '-')} {value}"
            assert spelt in PAGE, (row.name, spelt)


def test_the_numbers_said_of_the_table_are_its_own() -> None:
    text = " ".join(PAGE.split())
    table, updates = BY_NAME["neighbours"], DESK.setups["distillation"].updates
    policy = round(updates * table.row("grpo").updates)
    problems = policy * PRESETS["lab"]["batch"]
    assert f"the teacher's references, {updates * DESK.shared['batch']:,} of them once" in text
    assert f"make {problems * TeacherConfig().K:,} rollouts of {problems:,} problems" in text
    assert f"{DESK.many_samples['samples']} times each" in text and table.seeds == 3 and "three seeds" in text
    paper = TeacherConfig(preset="paper")
    said = f"(G = {paper.K}, KL {paper.kl:g}, rate 1e-6, {paper.batch} problems an update, {paper.schedule}, {paper.epochs:g} passes)"
    assert said in text and paper.learning_rate == 1e-6


def test_what_the_teacher_gained_is_its_records() -> None:
    record = read_checked(Path(__file__).resolve().parents[2] / "results" / "teacher" / "lab.json", "teacher")
    gains = {row["source"]: row["mean"] for row in record["evaluation"]["against"]["differences"]}
    said = {
        source: "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * gains[source][end] for end in ("value", "low", "high")))
        for source in ("lab:mid", "lab:hard-a", "lab:hard-b")
    }
    text = " ".join(PAGE.split())
    assert (
        f"gains {said['lab:mid']} points on `lab:mid`, {said['lab:hard-a']} on `lab:hard-a` and {said['lab:hard-b']} on `lab:hard-b` in"
        in text
    )
    assert record["training"]["updates"] == PRESETS["lab"]["steps"] == 120 and min(row["low"] for row in gains.values()) > -0.01


def test_the_share_of_problems_that_chose_the_settings_is_as_said() -> None:
    names = ("mid", "hard-a", "hard-b", "retention")
    chosen = {name: {problem.prompt for problem in islice(lab_problems(name, 90), DESK.evaluation["evaluate_limit"])} for name in names}
    pages = ((PAGE, DESK.many_samples["evaluate_limit"]), (PROTOCOL, DESK.evaluation["evaluate_limit"]))
    drawn = {name: [problem.prompt for problem in islice(lab_problems(name, 0), max(size for _, size in pages))] for name in names}
    for page, size in pages:
        shares = {name: sum(prompt in chosen[name] for prompt in drawn[name][:size]) / size for name in names}
        said = "{mid:.0%} (mid), {hard-a:.0%} (hard-a), {hard-b:.0%} (hard-b) and {retention:.0%} (retention)".format(**shares)
        assert said.replace("%", " %") in " ".join(page.split()), said


def test_what_the_trials_of_penalties_gave_is_their_records() -> None:
    folder = DOCS.parent / "results" / "desk"
    for path in [*folder.glob("selection-forgetting/*.json"), *folder.glob("selection-classp/*.json")]:
        record = read_object(path)
        config, kept = record["config"], 100 * record["difference_to_base"]["lab:retention"]["value"]
        name = {
            "ewc": f"EWC, λ = {config['forgetting_strength']:g}",
            "kl": f"KL, λ = {config['forgetting_strength']:g}",
            "classp": f"CLASSP, rate {config['learning_rate']:g}",
        }.get(config["forgetting"])
        accuracy = 100 * record["mean_of_tiers"]
        if name is None:
            assert f"| no penalty | {accuracy:.1f} | {signed(kept, 1)} |" in PAGE
        else:
            row = re.search(rf"^\| {re.escape(name)}(?: \(chosen\))? \| ([^|]*) \| ([^|]*) \|$", PAGE, re.M)
            assert row and row.groups() == (f"{accuracy:.1f}", signed(kept, 1)), (name, accuracy, kept)


def test_the_summary_says_what_the_records_say() -> None:
    results = Results(DOCS.parent / "results")
    said = {
        question.hypothesis.name.removeprefix("N."): finding_of(question.hypothesis, results, DESK).raw_verdict for question in QUESTIONS
    }
    table = BY_NAME["neighbours"]
    paced, uniform = (measure_row(results, DESK, table, table.row(name)) for name in ("paced", "uniform"))
    gain = combined([(1.0, paced), (-1.0, uniform)], DESK.tiers)
    assert gain is not None and gain.low > 0 and said["paced-pass"] == "contradicted"
    lost = finding_of(QUESTIONS[1].hypothesis, results, DESK).estimate
    assert lost is not None
    spans = f"{gain.value:.1f} [{gain.low:.1f}, {gain.high:.1f}]", f"{-lost.value:.1f} [{-lost.high:.1f}, {-lost.low:.1f}]"
    text = " ".join(PAGE.split())
    assert f"gains {spans[0]} points of accuracy and loses {spans[1]} of pass@32" in text
    kept = [finding_of(one.hypothesis, results, DESK).value or 0 for one in QUESTIONS if one.method in ("EWC", "KL to the start", "CLASSP")]
    assert f"keep {min(kept):.1f} to {max(kept):.1f} points more than no weighting" in text
    rows = [
        combined([(-1.0, measure_row(results, DESK, table, table.row(name))), (1.0, uniform)], DESK.tiers)
        for name in ("ewc", "kl", "classp")
    ]
    prices = [f"{one.value:.1f}" for one in rows if one is not None]
    assert f"They cost {prices[0]}, {prices[1]} and {prices[2]} points of accuracy" in text
    half = combined([(-1.0, measure_row(results, DESK, table, table.row("uniform-half"))), (1.0, uniform)], DESK.tiers)
    assert half is not None and f"loses {fixed(half.value, 1)} [{fixed(half.low, 1)}, {fixed(half.high, 1)}] points" in text
    assert {said[name] for name in ("ewc", "kl", "classp", "steps", "psr")} == {"replicates"}
    assert said["half"] == "not decided" and {said[name] for name in ("paced", "guide")} == {"equivalent within 1 point"}
    assert "replicates" not in {said[name] for name in ("maxrl", "ace", "w-reinforce")}


def test_what_is_said_of_compressed_students_is_their_records() -> None:
    found = {cost.method: cost for cost in costs(DOCS.parent / "results", DESK)}
    assert all(
        cost.finding.raw_verdict in ("not decided", "equivalent within 1 point") and cost.seeds == cost.planned for cost in found.values()
    )
    assert all(lost.low <= 0 <= lost.high for lost in found["int8"].lost.values())
    assert all(1 <= lost.value <= 2 and lost.low > 0 for lost in found["int4"].lost.values())
    assert all(lost.low > 10 for name in ("2:4", "magnitude:0.5") for lost in found[name].lost.values())
