"""Records that were damaged, changed, swapped or lost. The commands that read records run on a copy of the committed ones.

An attack is withstood if the command ends with exit status 2 and one line that names the file, and writes nothing.
"""

import contextlib
import io
import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from attack.harness import Attack
from paced_exp.core.errors import exit_cleanly
from paced_exp.core.json_files import read_json, write_checked, write_json
from paced_exp.reproduce import claims_page, seal
from paced_exp.training import selection

RESULTS = Path(__file__).resolve().parents[1] / "results"
PARTS = ("distillation", "snr_verdict/qwen3", "snr_probe")  # enough for C1, C2 and C3
CELL, OTHER, LATER = (f"desk-v1/distillation/{name}.json" for name in ("paced-s0", "uniform-s0", "paced-s1"))
PROBE, STEPS = "desk-v1/snr_verdict/qwen3/record.json", "desk-v1/snr_probe/record.json"
PAIR = "desk-v1/distill/selection/distillation-lr0.002-steps200-seed100.json"

Change = Callable[[dict[str, Any]], None]


def copied(folder: Path, parts: tuple[str, ...] = PARTS) -> Path:
    """A copy of some of the committed records."""
    for part in parts:
        shutil.copytree(
            RESULTS / "desk-v1" / part, folder / "results" / "desk-v1" / part, ignore=shutil.ignore_patterns("figure*", "snr_curve*")
        )
    return folder / "results"


def judge(folder: Path) -> tuple[int, str, list[Path]]:
    """Run the command behind `make claims`. Returns its exit status, its output, and the files that it wrote."""
    out = folder / "out"
    argv = [
        "--results",
        str(folder / "results"),
        "--scale",
        "desk-v1",
        "--out",
        str(out / "claims.md"),
        "--latex",
        str(out),
        "--json",
        str(out / "claims.json"),
    ]
    return *command(lambda: claims_page.main(argv)), list(out.rglob("*"))


def command(main: Callable[[], object]) -> tuple[int, str]:
    """The exit status and the output of an entry point."""
    said, status = io.StringIO(), 0
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            exit_cleanly(main)
        except SystemExit as stop:
            status = int(stop.code or 0)
    return status, said.getvalue()


def assert_refused(status: int, said: str, name: str, written: list[Path]) -> None:
    """Assert one line that names the file, exit status 2, and no file written."""
    assert status == 2, f"status {status}: {said}"
    lines = said.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and name in lines[0] and len(lines[0]) < 1000, said[:2000]
    assert not written, written


def refused(folder: Path, name: str, damage: Callable[[Path], None]) -> None:
    """The damaged record `name` is refused by the command behind docs/claims.md."""
    path = copied(folder) / name
    damage(path)
    status, said, written = judge(folder)
    assert_refused(status, said, name, written)


def tampered(change: Change, *, sealed: bool = True) -> Callable[[Path], None]:
    """Change a record's content. sealed: write a checksum of the new content; otherwise the old checksum stays."""

    def damage(path: Path) -> None:
        content = read_json(path)
        change(content)
        (write_checked if sealed else write_json)(path, content)

    return damage


def flip(content: dict[str, Any]) -> None:
    """Reverse the probe's verdict on p -> 0."""
    end = content["verdict"]["low"]
    end["difference"], end["difference_low"], end["difference_high"] = -end["difference"], -end["difference_high"], -end["difference_low"]
    end["verdict"], end["words"] = "collapses", "p -> 0: collapses"


def put(*keys: Any, value: Any) -> Change:
    """Set the value at the path `keys`."""

    def change(content: dict[str, Any]) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


def score(name: str, value: Any) -> Change:
    """Set the first number of a source's counts."""
    return put("scores", "lab:mid", name, 0, value=value)


def one_more(content: dict[str, Any]) -> None:
    """Change a count of correct samples to another possible one."""
    correct = content["scores"]["lab:mid"]["correct"]
    correct[0] += 1 if correct[0] < 4 else -1


def lose_a_problem(content: dict[str, Any]) -> None:
    """Remove the last problem from the counts and keep the hash of the ids."""
    for name in ("correct", "tokens"):
        content["scores"]["lab:mid"][name].pop()


def swap_sources(content: dict[str, Any]) -> None:
    """Swap the scores of two tiers."""
    scores = content["scores"]
    scores["lab:hard-a"], scores["lab:hard-b"] = scores["lab:hard-b"], scores["lab:hard-a"]


def without_checksum(path: Path) -> None:
    """Write the record without a checksum, as older versions did."""
    write_json(path, {name: value for name, value in read_json(path).items() if name != "checksum"})


def number(text: str) -> Callable[[Path], None]:
    """Insert `text` as the first count: a number that JSON does not have, or that is too large for Python."""
    return lambda path: path.write_text(path.read_text().replace('"correct": [', f'"correct": [{text},', 1))


def a_pipe(path: Path) -> None:
    """Replace the file by a named pipe, on which a reader would wait forever."""
    path.unlink()
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def swapped(folder: Path, one: str, other: str) -> None:
    """Two valid records have swapped names. The first one that is read is refused."""
    results = copied(folder)
    texts = [(results / name).read_bytes() for name in (one, other)]
    for name, text in zip((other, one), texts, strict=True):
        (results / name).write_bytes(text)
    status, said, written = judge(folder)
    assert_refused(status, said, one if one in said else other, written)


def lost_seed(folder: Path) -> None:
    """A missing seed is named, its hypothesis is not decided, and Holm's family stays the same."""
    (copied(folder) / "desk-v1/distillation/akl-s3.json").unlink()
    status, said, _ = judge(folder)
    assert status == 0 and "C3.akl (4 of 5 planned seeds: distillation/akl lacks seed 3)" in said, said
    content = json.loads((folder / "out" / "claims.json").read_text())["scales"]["desk-v1"]
    committed = json.loads((RESULTS / "claims.json").read_text())["scales"]["desk-v1"]
    findings, before = ({f["hypothesis"]: f for claim in part for f in claim["findings"]} for part in (content, committed))
    assert findings.keys() == before.keys()
    assert findings["C3.akl"]["verdict"] == findings["C3.akl"]["verdict_alone"] == "not decided" and findings["C3.akl"]["p_holm"] == 1
    assert all(findings[name]["p_holm"] >= before[name]["p_holm"] for name in ("C1.step1.low", "C2.distillation"))


def selection_refused(folder: Path, damage: Callable[[Path], None]) -> None:
    """A damaged record of the choice of the learning rate is refused before any training."""
    path = copied(folder, ("distill/selection",)) / PAIR
    damage(path)
    argv = ["--rates=[0.002]", "--steps=[200]", f"--records={path.parent}", f"--out={folder / 'runs'}"]
    status, said = command(lambda: selection.main(argv))
    assert_refused(status, said, path.name, list(folder.glob("runs/*")))


def sealing_refused(folder: Path, damage: Callable[[Path], None]) -> None:
    """The command that adds checksums refuses a record without one, and one that does not match its checksum."""
    path = copied(folder, ("distillation",)) / CELL
    damage(path)
    before = path.read_bytes()
    status, said = command(lambda: seal.main([str(path)]))
    assert_refused(status, said, path.name, [])
    assert path.read_bytes() == before


def _on(name: str, damages: dict[str, Callable[[Path], None]]) -> list[Attack]:
    kind = "a probe" if name in (PROBE, STEPS) else "a cell"
    return [Attack("records", f"{kind}: {words}", partial(refused, name=name, damage=damage)) for words, damage in damages.items()]


ATTACKS = [
    *_on(
        PROBE,
        {
            "its verdict is reversed": tampered(flip, sealed=False),
            "its verdict is reversed and sealed": tampered(flip),
            "its interval is narrowed and sealed": tampered(put("bins", 0, "snr_squared_low", value=0.0023)),
            "it has no checksum": without_checksum,
            "a bin has more problems than were offered": tampered(put("bins", 0, "n", value=10**9)),
            "a bin has a fractional number of problems": tampered(put("bins", 0, "n", value=20.5)),
            "bins is an object": tampered(put("bins", value={})),
            "a bin is a list": tampered(put("bins", 3, value=[])),
            "verdict is a list": tampered(put("verdict", value=[])),
            "config is a list": tampered(put("config", value=[])),
            "a bin's SNR² is a word": tampered(put("bins", 0, "snr_squared", value="0.002")),
            "NaN": lambda path: path.write_text(path.read_text().replace('"n": 2000', '"n": NaN', 1)),
            "infinity as 1e999": lambda path: path.write_text(path.read_text().replace('"n": 2000', '"n": 1e999', 1)),
            "it is nested 100,000 deep": lambda path: path.write_text("[" * 100_000 + "]" * 100_000),
            "it is nested deep in a field, sealed": tampered(put("provenance", value=json.loads("[" * 300 + "]" * 300))),
        },
    ),
    *_on(
        STEPS,
        {
            "steps is a number": tampered(put("steps", value=3)),
            "a step is a word": tampered(put("steps", 1, "step", value="20")),
            "the verdict of one step is reversed and sealed": tampered(lambda content: flip(content["steps"][1])),
        },
    ),
    *_on(
        CELL,
        {
            "more correct than samples, sealed": tampered(score("correct", 5)),
            "fewer correct than none, sealed": tampered(score("correct", -1)),
            "half an answer correct, sealed": tampered(score("correct", 2.5)),
            "a boolean for a count, sealed": tampered(score("correct", True)),
            "negative tokens, sealed": tampered(score("tokens", -1)),
            "more tokens than were allowed, sealed": tampered(score("tokens", 10**12)),
            "another count, not sealed": tampered(one_more, sealed=False),
            "it lost a problem, sealed": tampered(lose_a_problem),
            "two tiers swapped, sealed": tampered(swap_sources),
            "other samples than planned, sealed": tampered(put("scores", "lab:mid", "samples", value=8)),
            "scores is a list": tampered(put("scores", value=[])),
            "a source's scores are a list": tampered(put("scores", "lab:mid", value=[])),
            "options is a list": tampered(put("options", value=[])),
            "the learning rate is another": tampered(put("options", "learning_rate", value=0.1)),
            "the weights are empty": tampered(put("training", "weights", value={})),
            "it is a list": lambda path: path.write_text("[]"),
            "it is empty": lambda path: path.write_bytes(b""),
            "it is cut": lambda path: path.write_bytes(path.read_bytes()[:5000]),
            "it is not text": lambda path: path.write_bytes(b"\xff\x00" * 100),
            "it begins with a byte-order mark": lambda path: path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes()),
            "it has no checksum": without_checksum,
            "NaN": number("NaN"),
            "infinity as 1e999": number("1e999"),
            "a number of 100,000 digits": number("9" * 100_000),
            "it is nested 100,000 deep": lambda path: path.write_text('{"a":' * 100_000 + "1" + "}" * 100_000),
            "it is a folder": a_folder,
            "it is a pipe": a_pipe,
        },
    ),
    Attack("records", "two rows are swapped", lambda folder: swapped(folder, CELL, OTHER)),
    Attack("records", "two seeds are swapped", lambda folder: swapped(folder, CELL, LATER)),
    Attack("records", "a seed is missing", lost_seed, slow=True),
    Attack("records", "a selection: another mean, sealed", partial(selection_refused, damage=tampered(put("mean_of_tiers", value=0.9)))),
    Attack(
        "records",
        "a selection: another mean, not sealed",
        partial(selection_refused, damage=tampered(put("mean_of_tiers", value=0.9), sealed=False)),
    ),
    Attack(
        "records",
        "a selection: accuracy above one, sealed",
        partial(selection_refused, damage=tampered(put("accuracy", "lab:mid", value=1.5))),
    ),
    Attack("records", "a selection: it has no checksum", partial(selection_refused, damage=without_checksum)),
    Attack("records", "a selection: accuracy is a list", partial(selection_refused, damage=tampered(put("accuracy", value=[])))),
    Attack("records", "sealing a cell that lost its checksum", partial(sealing_refused, damage=without_checksum)),
    Attack("records", "sealing a cell that does not match its checksum", partial(sealing_refused, damage=tampered(one_more, sealed=False))),
]
