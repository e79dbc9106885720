"""The README's badges say what the records, the ledger and the package say, each counted here anew."""

import json
import tomllib
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

from paced_exp.reproduce.badges import badges
from paced_exp.reproduce.learning_rates import scale_named
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import DESK
from paced_exp.reproduce.verdicts import outcomes
from paced_theory.claims import ledger

ROOT = Path(__file__).resolve().parents[2]
SVG = "{http://www.w3.org/2000/svg}"


def test_the_committed_badges_are_those_of_the_records() -> None:
    results = Results(ROOT / "results")
    drawn = badges(outcomes(results, scale_named(DESK.name, results.folder)))
    assert (ROOT / "figures/out/badges.svg").read_text() == drawn, "run: make claims"
    texts = [element.text for element in ElementTree.fromstring(drawn).iter(f"{SVG}text")]
    said = dict(zip(texts[::2], texts[1::2], strict=True))
    paper = [claim for claim in ledger() if claim.origin == "paper"]
    assert said["theory"] == f"{sum(claim.recorded == 'holds' for claim in paper)} of {len(paper)} statements hold"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (said["python"], said["license"]) == (project["requires-python"].replace(">=", "") + " or newer", project["license"])
    judged = json.loads((ROOT / "results/claims.json").read_text())["scales"]["desk"]
    verdicts = Counter(claim["verdict"] for claim in judged if claim["id"].startswith("C"))
    parts = {words.split()[1]: int(words.split()[0]) for words in said["claims"].split(", ")}
    assert parts.get("replicate", 0) == verdicts["replicates"] and parts.get("contradicted", 0) == verdicts["contradicted"]
    assert parts.get("open", 0) == verdicts["not decided"] and sum(parts.values()) == verdicts.total() == 11


def test_boxes_stand_side_by_side_and_hold_their_text() -> None:
    root = ElementTree.fromstring(badges([]))
    boxes = [(float(box.attrib["x"]), float(box.attrib["width"])) for box in root.iter(f"{SVG}rect")]
    texts = [(float(text.attrib["x"]), float(text.attrib["textLength"])) for text in root.iter(f"{SVG}text")]
    assert len(boxes) == len(texts) == 8
    for (x, width), (at, length), right in zip(boxes, texts, [*(x for x, _ in boxes[1:]), float(root.attrib["width"]) + 1], strict=True):
        assert x < at and at + length < x + width <= right + 0.11
