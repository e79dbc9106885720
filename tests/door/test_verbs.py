"""The door's verbs: the same as the commands, with objects for names, and results that show themselves."""

import dataclasses
import importlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

import paced_exp as paced
from paced_exp import evaluate as evaluate_command
from paced_exp import rollout as rollout_command
from paced_exp.data.sources import load_problems
from paced_exp.door.options import plain_options
from paced_exp.evaluation.config import EvaluateConfig
from paced_exp.probe.config import ProbeConfig
from paced_exp.rollouts.config import RolloutConfig
from paced_exp.training.config import DistillConfig

SMALL: dict[str, Any] = {"max_new_tokens": 32, "device": "cpu"}
PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def problems() -> list[paced.Problem]:
    return load_problems("lab:train", limit=10)


@pytest.fixture(scope="module")
def rates(tmp_path_factory: pytest.TempPathFactory) -> paced.PassRates:
    return paced.pass_rates("lab:student", "lab:train", limit=10, K=4, out=tmp_path_factory.mktemp("door") / "rates", **SMALL)


@pytest.fixture(scope="module")
def trained(problems: list[paced.Problem], rates: paced.PassRates, tmp_path_factory: pytest.TempPathFactory) -> paced.Distillation:
    weights = paced.weights(rates, estimator="posterior")
    options = {"steps": 3, "batch": 4, "micro_batch": 2, "candidates": 1, "samples": 2, **SMALL}
    return paced.distill(
        "lab:student",
        "lab:teacher",
        "lab:train",
        limit=10,
        weights=weights,
        evaluate=problems[:4],
        out=tmp_path_factory.mktemp("door") / "run",
        **options,
    )


def shown(result: Any) -> str:
    """What a notebook shows; a figure that it plots must be one that a notebook shows too, in a style that leaves no trace."""
    before = dict(matplotlib.rcParams)
    figure = result.plot()
    assert isinstance(figure, Figure) and figure._repr_png_().startswith(PNG)  # type: ignore[attr-defined]
    assert dict(matplotlib.rcParams) == before and repr(result)
    html: str = result._repr_html_()
    assert html.startswith("<div>")
    return html


# ---- as the commands


def test_pass_rates_are_those_of_the_command(rates: paced.PassRates, tmp_path: Path) -> None:
    rollout_command.main(["--limit", "10", "-K", "4", "--max-new-tokens", "32", "--device", "cpu", "--out", str(tmp_path / "command")])
    written = pd.read_parquet(tmp_path / "command" / "pass_rates.parquet")
    pd.testing.assert_frame_equal(rates.to_frame(), written.drop(columns="prompt_hash"))
    np.testing.assert_array_equal(rates["weight"], paced.weights(rates))
    html = shown(rates)
    assert "10 problems, 40 rollouts of lab:student" in html and len(rates) == 10
    stopped = dataclasses.replace(rates, record={**rates.record, "adaptive": {}})  # as a run writes it that stops rollouts early
    titles = [one.plot().axes[0].get_title() for one in (rates, stopped)]
    assert titles == ["weights by p(1-p), plugin estimate", "weights by p(1-p), empirical_bayes estimate"]


def test_pass_rates_of_nothing_solved_have_no_weight() -> None:
    never = paced.pass_rates(problems=[{"prompt": "1+1=", "answer": "100000"}] * 1, K=2, **SMALL)
    assert never["k"].tolist() == [0] and never["weight"].tolist() == [0.0]
    assert shown(never)
    with pytest.raises(paced.UserError, match="all 1 problems have weight zero"):
        paced.weights(never)


def test_an_evaluation_is_that_of_the_command(tmp_path: Path) -> None:
    ours = paced.evaluate(problems="lab:mid", limit=5, samples=2, against="lab:teacher", **SMALL)
    argv = [
        "--problems",
        "lab:mid",
        "--limit",
        "5",
        "--samples",
        "2",
        "--against",
        "lab:teacher",
        "--max-new-tokens",
        "32",
        "--device",
        "cpu",
    ]
    evaluate_command.main([*argv, "--out", str(tmp_path / "command")])  # type: ignore[attr-defined]
    record = json.loads((tmp_path / "command" / "record.json").read_text())
    assert ours.record["sources"] == record["sources"] and ours.record["against"] == record["against"]
    frame = ours.to_frame()
    assert frame["mean"][0] == record["sources"][0]["mean"]["value"] and frame["mean_low"][0] == record["sources"][0]["mean"]["low"]
    assert frame["difference_mean"][0] == record["against"]["differences"][0]["mean"]["value"]
    assert "less lab:teacher, points" in shown(ours)
    again = paced.evaluate(problems="lab:mid", limit=5, samples=2, against=ours, **SMALL)  # a result stands for its folder
    assert again.record["against"]["differences"][0]["mean"]["value"] == 0


@pytest.mark.slow
def test_a_probe_is_drawn_and_judged(tmp_path: Path) -> None:
    options: dict[str, Any] = {"K": 2, "bins": 3, "per_bin": 3, "candidates": 1, "max_problems": 60, "replicates": 100, **SMALL}
    curve = paced.probe(out=tmp_path / "probe", **options)
    assert set(curve.verdict) == {"low", "high"} and len(curve.to_frame()) == len(curve.record["bins"]) > 0
    html = shown(curve)
    assert "data:image/png;base64," in html and "lab:student distilled from lab:teacher" in html
    again = paced.probe(rollouts_from=curve, out=tmp_path / "again", **options)
    pd.testing.assert_frame_equal(again.to_frame(), curve.to_frame())
    empty = dataclasses.replace(curve, record={**curve.record, "bins": []})
    with pytest.raises(paced.UserError, match="no bin holds enough problems for a curve"):
        empty.plot()


def test_a_probe_at_several_updates_has_a_verdict_for_each() -> None:
    judged = {"difference": 0.1, "difference_low": 0.05, "difference_high": 0.2, "middle_low": 0.01}
    panel = {"verdict": {"low": judged, "high": {"difference": None}}, "bins": [{"pass_rate": 0.0}]}
    curve = paced.SNRCurve({"steps": [{"step": 1, **panel}, {"step": 20, **panel}]}, Path("none"))
    assert curve.verdict == {step: {"low": "keeps at least half", "high": "not decided"} for step in (1, 20)}
    assert curve.to_frame().to_dict("list") == {"step": [1, 20], "pass_rate": [0.0, 0.0]}


def test_a_distillation_trains_by_the_weights_given(trained: paced.Distillation, rates: paced.PassRates) -> None:
    config = trained.record["config"]
    (written,) = Path(config["weights"]).parent.glob("weights-*.jsonl")
    assert str(written) == config["weights"] and written.parent.name == "run-inputs"
    assert len(trained.to_frame()) == 3 and np.isfinite(trained.to_frame()["loss"]).all()
    assert trained.record["weights"]["problems"] == 10 and trained.record["training"]["rollouts"]["responses"] == 0
    loaded = trained.load(device="cpu")
    before = paced.load_model("lab:student", device="cpu")
    pairs = zip(loaded.model.parameters(), before.model.parameters(), strict=True)
    assert not all(torch.equal(ours, theirs) for ours, theirs in pairs)
    assert trained.evaluation is not None and len(trained.evaluation.to_frame()) == 1
    assert "evaluation of" in shown(trained) and "10 problems, 0 dropped" in repr(trained)


def test_a_distillation_goes_wherever_a_model_is_asked_for(trained: paced.Distillation) -> None:
    found = paced.evaluate(trained, "lab:mid", limit=2, samples=1, against=(paced.load_model("lab:student", device="cpu")), **SMALL)
    assert found.record["config"]["model"] == trained.model and found.record["against"] is not None


# ---- objects for names


def test_objects_are_the_runs_of_their_names(problems: list[paced.Problem], rates: paced.PassRates, tmp_path: Path) -> None:
    loaded = paced.load_model("lab:student", device="cpu")
    options = {"K": 4, "out": tmp_path / "run", **SMALL}
    given = paced.pass_rates((loaded.model, loaded.tokenizer), problems, **options)
    pd.testing.assert_frame_equal(given.frame, rates.frame)
    made = sorted(path.name for path in (tmp_path / "run-inputs").iterdir())
    assert len(made) == 2 and made[0].startswith("problems-") and made[1].startswith("student-")
    assert not list((tmp_path / "run-inputs").rglob("*.bin")) and list((tmp_path / "run-inputs").rglob("*.safetensors"))
    # The same again, in another process even, is the same run: read back, nothing written.
    again = paced.pass_rates(paced.load_model("lab:student", device="cpu"), list(problems), **options)
    pd.testing.assert_frame_equal(again.frame, given.frame)
    assert sorted(path.name for path in (tmp_path / "run-inputs").iterdir()) == made
    with torch.no_grad():
        next(loaded.model.parameters())[0, 0] += 1e-3
    with pytest.raises(paced.UserError, match=r"holds a run of another configuration; differing: student \('.*/student-"):
        paced.pass_rates(loaded, problems, **options)
    with pytest.raises(paced.UserError, match=r"holds a run of another configuration; differing: problems \('.*/problems-"):
        paced.pass_rates(paced.load_model("lab:student", device="cpu"), problems[:5], **options)


def test_a_damaged_copy_of_a_model_is_written_again(tmp_path: Path) -> None:
    loaded = paced.load_model("lab:student", device="cpu")
    first = paced.pass_rates(loaded, "lab:train", limit=2, K=1, out=tmp_path / "run", **SMALL)
    (copy,) = (tmp_path / "run-inputs").glob("student-*/model.safetensors")
    whole = copy.read_bytes()
    copy.write_bytes(whole[:-1] + b"\0")
    again = paced.pass_rates(loaded, "lab:train", limit=2, K=1, out=tmp_path / "run", **SMALL)
    pd.testing.assert_frame_equal(first.frame, again.frame)
    assert copy.read_bytes() == whole


def test_problems_are_taken_as_dicts_frames_and_several_sources() -> None:
    rows = [{"id": f"p{number}", "prompt": f"{number}+1=", "answer": str(number + 1)} for number in range(3)]
    for given in (rows, pd.DataFrame(rows), (row for row in rows)):
        assert paced.pass_rates(problems=given, K=1, **SMALL)["problem_id"].tolist() == ["p0", "p1", "p2"]
    renamed = [{"question": row["prompt"], "number": row["answer"]} for row in rows]
    assert len(paced.pass_rates(problems=renamed, columns={"prompt": "question", "answer": "number"}, K=1, **SMALL)) == 3
    both = paced.evaluate(problems=["lab:mid", "lab:retention"], limit=1, samples=1, **SMALL)
    assert both.to_frame()["source"].tolist() == ["lab:mid", "lab:retention"]


def test_weights_are_taken_in_every_form(rates: paced.PassRates, tmp_path: Path) -> None:
    from paced_exp.door.inputs import Inputs

    weights = paced.weights(rates, estimator="posterior")
    forms = [
        weights,
        weights.to_frame(),
        dict(zip(weights.counts.problem_id, weights.weight.tolist(), strict=True)),
        np.asarray(weights),
        list(weights.weight),
    ]
    files = {Inputs(tmp_path / "run").weights(form, lambda: weights.counts.problem_id) for form in forms}
    assert len(files) == 1
    with pytest.raises(paced.UserError, match=r"`weights` has the shape \(3,\), but there are 10 problems"):
        Inputs(tmp_path / "run").weights([1.0, 2.0, 3.0], lambda: weights.counts.problem_id)
    with pytest.raises(paced.UserError, match="`weights` has the columns problem_id, w; it must have problem_id and weight"):
        Inputs(tmp_path / "run").weights(pd.DataFrame({"problem_id": ["a"], "w": [1.0]}), list)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"student": paced.load_model("lab:student", device="cpu").model},
            "`student` holds a Qwen3ForCausalLM without its tokenizer; give (model, tokenizer)",
        ),
        (
            {"student": (torch.nn.Linear(1, 1), None)},
            "`student` holds a Linear, which is not a model of transformers; give (model, tokenizer)",
        ),
        ({"student": (paced.load_model("lab:student", device="cpu").model, "text")}, "`student` holds a str as its tokenizer"),
        ({"student": 3}, "`student` 3 must be text"),
        ({"problems": []}, "`problems` must hold at least one problem"),
        ({"problems": {"prompt": "1+1=", "answer": "2"}}, "`problems` is a dict; give lab:SPLIT, a file, hub:NAME, or a list"),
        ({"problems": ["lab:mid", {"prompt": "1+1=", "answer": "2"}]}, "its items must be all Problem, all dicts, or all names of sources"),
        ({"problems": [{"prompt": "1+1=", "answer": {2}}]}, "`problems` holds a value that JSON cannot hold"),
        ({"problems": [{"prompt": "1+1="}]}, "no column for the answer"),
        ({"sample": 4}, "paced.pass_rates has no option `sample`; known: K, "),
        ({"max_new_token": 4}, "paced.pass_rates has no option `max_new_token`; did you mean `max_new_tokens`?"),
        ({"K": "8"}, "`K` '8' must be a whole number"),
        ({"K": 2.5}, "`K` 2.5 must be a whole number"),
        ({"K": True}, "`K` True must be a whole number"),
        ({"limit": "all"}, "`limit` 'all' must be a whole number or None"),
        ({"engine": "tgi"}, "`engine` tgi is not known; known: hf, vllm"),
        ({"columns": ["id"]}, "`columns` ['id'] must be a dict or None"),
        ({"skip_long": 1}, "`skip_long` 1 must be True or False"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(options: dict[str, Any], line: str, tmp_path: Path) -> None:
    with pytest.raises(paced.UserError) as caught:
        paced.pass_rates(**{"limit": 2, "K": 1, **SMALL, **options, "out": tmp_path / "run"})
    assert line in str(caught.value) and "--" not in str(caught.value) and not (tmp_path / "run").exists()


def test_options_are_taken_as_numpy_and_paths_write_them() -> None:
    options = {"K": np.int64(3), "temperature": np.float32(0.5), "skip_long": np.bool_(True), "out": Path("runs/x"), "columns": {"id": "n"}}
    plain = plain_options(RolloutConfig, "pass_rates", options)
    assert plain == {"K": 3, "temperature": 0.5, "skip_long": True, "out": "runs/x", "columns": {"id": "n"}}
    assert [type(value) for value in plain.values()] == [int, float, bool, str, dict]


# ---- signatures, folders


@pytest.mark.parametrize(
    ("verb", "config"), [("pass_rates", RolloutConfig), ("probe", ProbeConfig), ("distill", DistillConfig), ("evaluate", EvaluateConfig)]
)
def test_a_verb_has_the_options_and_defaults_of_its_command(verb: str, config: Any) -> None:
    parameters = inspect.signature(getattr(paced, verb)).parameters
    fields = {field.name: field.default for field in dataclasses.fields(config)}
    assert set(parameters) == set(fields)
    assert {name: parameter.default for name, parameter in parameters.items()} == {**fields, "out": None}
    function = getattr(importlib.import_module("paced_exp.door.verbs"), verb)
    assert [name for name in fields if not re.search(rf"(^|[ .,]){name}(, \w+)*: ", function.__doc__, re.M)] == []


def test_a_run_without_a_folder_is_there_until_python_ends() -> None:
    code = (
        "import paced_exp as paced; r = paced.pass_rates(limit=1, K=1, max_new_tokens=4, device='cpu'); "
        "s = paced.pass_rates(limit=1, K=1, max_new_tokens=5, device='cpu'); assert r.out != s.out and (r.out / 'record.json').exists(); print(r.out)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert folder.is_absolute() and not folder.parent.exists() and not folder.parent.parent.exists()


def test_several_processes_need_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(paced.UserError, match=r"`out` must be given to paced\.evaluate under a launcher"):
        paced.evaluate()
