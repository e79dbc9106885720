"""docs/snr.md says what the records say: verdicts from the one place that has them, fits with their test, and what a record lacks."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from figures import document_snr
from paced_exp.core import config as configs
from paced_exp.core.errors import UserError
from paced_exp.core.json_files import write_checked
from paced_exp.reproduce.probes import ALIGNMENT, probes_of
from paced_exp.reproduce.scales import DESK_V1, SMOLLM2
from paced_exp.reproduce.verdicts import findings_by_name

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "snr.md").read_text(encoding="utf-8")
PROBE = next(probe for probe in probes_of(DESK_V1) if probe.key == "snr_verdict/qwen3")


@pytest.fixture(scope="module")
def page() -> str:
    return document_snr.document(ROOT / "results")


def record(key: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "results" / "desk-v1" / key / "record.json").read_text())
    return found


def test_the_committed_page_is_that_of_the_committed_records(page: str) -> None:
    assert page == PAGE, "run: make claims"


def test_make_writes_it() -> None:
    claims = (ROOT / "Makefile").read_text().split("\nclaims:")[1].split("\n\n")[0]
    assert "-m figures.document_snr" in claims


def test_verdicts_stand_raw_and_corrected_side_by_side(page: str) -> None:
    findings = findings_by_name(ROOT / "results", DESK_V1)
    rows = [line for line in page.splitlines() if line.startswith("| the bin k = ")]
    assert len(rows) == 8
    for name in ("C1.step1.low", "C1.step1.high", "C1.step20.low", "C1.step20.high"):
        (row,) = (line for line in rows if name in line)
        assert f"{name}: {findings[name].verdict}" in row
        step, end = re.fullmatch(r"C1\.step(\d+)\.(\w+)", name).groups()  # type: ignore[union-attr]
        panels = {1: record("snr_verdict/qwen3"), 20: record("snr_probe")["steps"][1]}
        numbers = panels[int(step)]["verdict"][end]
        # By the rule as protocol and page state it, from the numbers.
        raw = (
            "keeps at least half"
            if numbers["difference_low"] > 0
            else "has less than half"
            if numbers["difference_high"] < 0
            else "not decided"
        )
        assert f"| {raw} |" in row and numbers["middle_low"] > 0
    assert sum("no hypothesis of a claim" in row for row in rows) == 4


def test_no_end_collapses_and_no_efficiency_is_printed(page: str) -> None:
    generated = "\n".join(line for line in page.splitlines() if line.startswith(("|", "- The bin", "- Before")))
    assert "collapse" not in generated and "efficiency" not in page and "sech" not in page


def test_every_fit_stands_beside_its_chi_squared(page: str) -> None:
    fits = re.findall(r"a = -?\d\.\d\d \[[^]]+\] \(at most [^)]+\); b = [^)]+\)(; χ² = [\d.]+ on \d df, p = [\d.e-]+)?", page)
    assert len(fits) >= 10 and all(fits)


def test_the_paper_and_the_page_agree_on_eq_33(page: str) -> None:
    for name, key in (("Qwen3", "snr_verdict/qwen3"), ("Llama", "snr_verdict/llama")):
        rows = record(key)["bins"]
        share = [row["offered"] / sum(r["offered"] for r in rows) for row in rows]
        noise = [row["mean_squared_norm"] / (1 + row["snr_squared"]) for row in rows]
        w = [row["pass_rate"] * (1 - row["pass_rate"]) for row in rows]
        mean = sum(s * x for s, x in zip(share, w, strict=True))
        weighted = sum(s * x * x * m for s, x, m in zip(share, w, noise, strict=True))
        ratio = weighted / mean**2 / sum(s * m for s, m in zip(share, noise, strict=True))
        kept = 1 - share[0] - share[-1]
        assert re.search(rf"\| {name} architecture, update 1 \| .* \| {ratio:.2f} \| {kept:.0%} \| {ratio * kept:.2f} \|", page)


def test_what_an_old_record_lacks_is_said_and_what_a_new_one_holds_is_printed() -> None:
    assert "not in this record" in PAGE
    old = record("snr_verdict/qwen3")
    new = {**old, "bins": [dict(row) for row in old["bins"]]}
    for row in new["bins"]:
        row.update({"trimmed": 0.0123, "trimmed_low": 0.01, "trimmed_high": 0.015, "snr_squared_covers": False})
    lines = document_snr._pair(PROBE, new)
    table = [line for line in lines if line.startswith(("| 0.", "| 1."))]
    assert len(table) == 11 and all("0.0123 [0.0100, 0.0150] |" in line and "] † |" in line for line in table)


def test_the_pretrained_model_is_said_to_be_unmeasured_until_its_probe_was_run(tmp_path: Path) -> None:
    unmeasured = "\n".join(document_snr._pretrained(tmp_path))
    assert "Not measured yet: `python -m paced_exp.reproduce --scale smollm2 --table alignment`." in unmeasured
    assert "most of its arithmetic ability comes from that fine-tuning" in unmeasured
    # The desk's record of the same kind stands in, with the options of the pretrained model's.
    (probe,) = probes_of(SMOLLM2, ALIGNMENT)
    found = json.loads((ROOT / "results" / "desk" / "aligned" / "record.json").read_text())
    options = {**configs.as_dict(probe.config), "out": "somewhere"}
    probe.path(tmp_path).parent.mkdir(parents=True)
    write_checked(probe.path(tmp_path), {**{name: value for name, value in found.items() if name != "checksum"}, "config": options})
    lines = document_snr._pretrained(tmp_path)
    assert "Not measured" not in "\n".join(lines) and "(../results/smollm2/aligned/snr_curve.png)" in "\n".join(lines)
    rows = [line for line in lines if line.startswith(("| 0.", "| 1."))]
    assert [line.split(" | ")[1] for line in rows] == [str(row["n"]) for row in found["bins"]] and len(rows) == 11
    for line, row in zip(rows, found["bins"], strict=True):
        assert f"| {row['snr_squared']:.4f} [{row['snr_squared_low']:.4f}, {row['snr_squared_high']:.4f}]" in line


def test_a_missing_record_is_named_with_its_command(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"qwen3/record\.json does not exist; run: .*--table figure2"):
        document_snr.document(tmp_path)
    shutil.copytree(ROOT / "results" / "desk-v1", tmp_path / "desk-v1", ignore=shutil.ignore_patterns("*.pdf", "*.png", "*.svg"))
    (tmp_path / "desk-v1" / "snr_robustness" / "sum" / "record.json").unlink()
    with pytest.raises(UserError, match=r"sum/record\.json does not exist; run: .*--table robustness"):
        document_snr.document(tmp_path)


def test_it_is_written_where_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document_snr.main(["--out", str(tmp_path / "page.md")])
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == PAGE and capsys.readouterr().out.strip() == str(tmp_path / "page.md")
