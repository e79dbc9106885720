"""Problems from every source: the user's own files, the hub, the lab; and one clear line for bad input. Layouts: test_layouts.py."""

import itertools
import json
import tempfile
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paced_exp.core.errors import UserError
from paced_exp.data.lab.splits import DEFAULT_SIZES
from paced_exp.data.layouts import RowError, dapo, plain
from paced_exp.data.problem import Problem
from paced_exp.data.sources import load_problems, save_problems, stream_problems
from tests.support.problem_files import DAPO_ROW, ORIGIN, dapo_row, rows, shared, write

# Files


def test_columns_are_mapped(tmp_path):
    path = write(tmp_path / "mine.jsonl", [{"q": "Q1", "gold": "1", "steps": "because", "key": "k", "how": "exact", "answer": "no"}])
    mapping = {"prompt": "q", "answer": "gold", "solution": "steps", "id": "key", "grader": "how"}
    (problem,) = load_problems(path, columns=mapping)
    assert problem == Problem("k", "Q1", "1", "because\n\\boxed{1}", path, "mine", "exact", {"answer": "no"})


def test_columns_of_gsm8k_may_be_named(tmp_path):
    raw = [{"question": f"Q{n}", "answer": f"1+{n}=<<1+{n}={n + 1}>>{n + 1}\n#### {n + 1}", "key": f"k{n}"} for n in range(3)]
    path = write(tmp_path / "gsm.jsonl", raw)
    for columns in ({"prompt": "question"}, {"prompt": "question", "answer": "answer"}):
        assert load_problems(path, columns=columns) == load_problems(path)
    named = load_problems(path, columns={"prompt": "question", "id": "key"})
    assert [problem.id for problem in named] == ["k0", "k1", "k2"]
    assert (named[0].answer, named[0].solution) == ("1", "1+0=1\n\\boxed{1}")
    other = write(tmp_path / "other.jsonl", [{"q": row["question"], "a": row["answer"]} for row in raw])
    assert [p.answer for p in load_problems(other, columns={"prompt": "q", "answer": "a"})] == ["1", "2", "3"]
    with pytest.raises(UserError, match="no column 'nowhere'"):
        load_problems(path, columns={"prompt": "nowhere"})


def test_columns_of_gsm8ks_own_file_may_be_named():
    path, _ = shared("gsm8k_test.jsonl")
    assert load_problems(path, columns={"prompt": "question"}) == load_problems(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "P", "answer": Infinity}', "line 1: the answer is an infinite number"),
        ('{"prompt": "P", "answer": -Infinity}', "line 1: the answer is an infinite number"),
        ('{"prompt": "P", "answer": 1e999}', "line 1: the answer is an infinite number"),
        ('{"prompt": "P", "answer": NaN}', "line 1: no answer"),
        ('{"prompt": "P", "answer": ' + "9" * 5_000 + "}", "line 1: not valid JSON .*4300 digits"),
        ('{"prompt": "P", "answer": ' + "9" * 2_000 + "}", "the answer has 2000 characters"),
        ('{"prompt": "P", "answer": ' + "[" * 100_000 + "}", "line 1: not valid JSON"),
        ('{"a":' * 100_000, "line 1: not valid JSON"),
    ],
)
def test_numbers_and_nesting_that_no_answer_has(tmp_path, line, message):
    path = write(tmp_path / "mine.jsonl", [line])
    with pytest.raises(UserError, match=message) as raised:
        load_problems(path)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 600


@pytest.mark.parametrize("value", [Decimal("Infinity"), Decimal("NaN"), float("-inf")])
def test_no_answer_is_a_number_that_is_none(value):
    with pytest.raises(RowError, match=r"infinite number|no answer"):
        plain({"prompt": "P", "answer": value}, ORIGIN)


def test_jsonl_and_parquet_give_the_same_problems(tmp_path):
    text = write(tmp_path / "same.jsonl", ["\ufeff" + json.dumps(rows(1)[0]), "", *rows(5)[1:], "  "])
    pq.write_table(pa.Table.from_pylist(rows(5)), tmp_path / "same.parquet")
    from_jsonl, from_parquet = load_problems(text), load_problems(str(tmp_path / "same.parquet"))
    assert [vars(problem) | {"source": ""} for problem in from_jsonl] == [vars(problem) | {"source": ""} for problem in from_parquet]
    assert [problem.id for problem in from_jsonl] == ["r0", "r1", "r2", "r3", "r4"]


def test_rows_without_an_id_get_one_of_the_file(tmp_path):
    path = write(tmp_path / "mine.jsonl", [{"question": "Q", "answer": "1"}, {"question": "Q", "answer": "1", "id": None}])
    assert [problem.id for problem in load_problems(path)] == ["mine-0", "mine-1"]


words = st.text(st.characters(codec="utf-8")).map(lambda text: "a" + text)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5
)


@given(
    st.lists(
        st.builds(
            Problem,
            id=words,
            prompt=words,
            answer=words,
            solution=st.none() | st.text(st.characters(codec="utf-8")),
            source=words,
            split=words,
            grader=st.sampled_from(["math", "exact"]),
            metadata=st.dictionaries(st.text(), values),
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda problem: problem.id,
    )
)
@settings(max_examples=20, deadline=None)
def test_saved_problems_come_back_equal(problems):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problems.parquet"
        save_problems(problems, path)
        assert load_problems(str(path)) == problems
        assert [entry.name for entry in Path(folder).iterdir()] == ["problems.parquet"]


def test_saved_lab_problems_come_back_equal(tmp_path):
    problems = load_problems("lab:train,lab:retention", limit=200)
    save_problems(problems, tmp_path / "problems.parquet")
    as_json = [replace(problem, metadata=json.loads(json.dumps(problem.metadata))) for problem in problems]
    assert load_problems(str(tmp_path / "problems.parquet")) == as_json


def test_a_limit_is_a_seeded_sample_in_file_order_and_the_stream_begins_with_it(tmp_path):
    path = write(tmp_path / "mine.jsonl", rows(50))
    everything = load_problems(path)
    sample = load_problems(path, limit=10, seed=3)
    assert sample == load_problems(path, limit=10, seed=3) != load_problems(path, limit=10, seed=4)
    assert len(sample) == 10 and sample == [problem for problem in everything if problem in sample]
    stream = list(stream_problems(path, seed=3))
    assert stream != everything and sorted(stream, key=everything.index) == everything
    assert sorted(stream[:10], key=everything.index) == sample
    assert load_problems(path, limit=1000) == everything


# The lab and several sources


def test_lab_problems_have_the_default_size_or_the_limit():
    assert len(load_problems("lab:hard-a")) == DEFAULT_SIZES["hard-a"]
    few = load_problems("lab:hard-a", limit=5, seed=2)
    assert few == load_problems("lab:hard-a", limit=9, seed=2)[:5] == list(itertools.islice(stream_problems("lab:hard-a", seed=2), 5))
    assert few != load_problems("lab:hard-a", limit=5, seed=3)


def test_several_sources_follow_each_other_when_loaded_and_take_turns_in_a_stream(tmp_path):
    path = write(tmp_path / "mine.jsonl", rows(3))
    spec = f"lab:mid, {path},lab:hard-b"
    assert [problem.split for problem in load_problems(spec, limit=2)] == ["mid"] * 2 + ["mine"] * 2 + ["hard-b"] * 2
    stream = [problem.split for problem in itertools.islice(stream_problems(spec), 13)]
    assert stream == ["mid", "mine", "hard-b"] * 3 + ["mid", "hard-b"] * 2


def test_a_path_may_have_a_comma(tmp_path):
    path = write(tmp_path / "one,two.jsonl", rows(2))
    assert [problem.id for problem in load_problems(path)] == ["r0", "r1"]


# The hub


@pytest.fixture
def hub(monkeypatch):
    """A hub in place of the real one: name -> {(configuration, split): rows}; what is loaded goes through `datasets`' own classes."""
    content: dict[str, dict[tuple[str | None, str], list[dict]]] = {}

    def dataset_info(self, name, timeout):
        if name not in content:
            raise huggingface_hub.errors.RepositoryNotFoundError("404", response=SimpleNamespace(headers={}, request=None))

    def load_dataset(name, config, split):
        if (config, split) not in content[name]:
            raise ValueError(f'Unknown split "{split}". Should be one of {[key[1] for key in content[name]]}.')
        return datasets.Dataset.from_list(content[name][config, split])

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda name, config: [split for key, split in content[name] if key == config])
    return content


def test_hub_defaults_configurations_and_splits(hub, capsys):
    hub["opencompass/AIME2025"] = {("AIME2025-I", "test"): rows(1), ("AIME2025-II", "test"): [rows(2)[1]]}
    problems = load_problems("hub:opencompass/AIME2025")
    assert [(problem.id, problem.source, problem.split) for problem in problems] == [
        ("r0", "hub:opencompass/AIME2025", "test"),
        ("r1", "hub:opencompass/AIME2025", "test"),
    ]
    choices = {"question": "Q", "subject": "law", "choices": ["x", "y"], "answer": 1}
    hub["cais/mmlu"] = {("all", "test"): [choices] * 2, ("law", "dev"): [choices]}
    assert [problem.id for problem in load_problems("hub:cais/mmlu")] == ["mmlu-0", "mmlu-1"]
    assert [problem.source for problem in load_problems("hub:cais/mmlu/law:dev")] == ["hub:cais/mmlu/law"]
    hub["openai/gsm8k"] = {("main", "train"): [{"question": "Q", "answer": "a\n#### 3"}], ("main", "test"): []}
    assert load_problems("hub:openai/gsm8k:train")[0].answer == "3"
    hub["BytedTsinghua-SIA/DAPO-Math-17k"] = {(None, "train"): [DAPO_ROW] * 3}
    assert [problem.answer for problem in load_problems("hub:BytedTsinghua-SIA/DAPO-Math-17k")] == ["34"]
    hub["some/dapo"] = {(None, "train"): [dapo_row("1"), dapo_row("4", "Q"), dapo_row("2")]}
    capsys.readouterr()
    assert [problem.prompt for problem in load_problems("hub:some/dapo")] == ["Q"]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("warning: hub:some/dapo: 1 prompt with different answers left out: ") and "row 0 has '1'" in lines[0]
    assert lines[1] == "hub:some/dapo: 1 of 3 rows repeat the prompt of an earlier one and were dropped"
    hub["some/one"] = {(None, "only"): rows(2)}
    assert [problem.split for problem in load_problems("hub:some/one")] == ["only", "only"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hub:nobody/nothing", r"the hub has no data set 'nobody/nothing'.*a path to a \.jsonl"),
        ("hub:openai/gsm8k", "which split\\? There are train, test; write hub:openai/gsm8k:train"),
        ("hub:openai/gsm8k:dev", 'could not be loaded \\(Unknown split "dev"'),
        ("hub:openai/gsm8k:test", "hub:openai/gsm8k: no problems in it"),
        ("hub:some/one", "hub:some/one:only row 1: no answer"),
        ("hub:gsm8k", "expected hub:OWNER/NAME"),
        ("hub:a/b/c/d", "expected hub:OWNER/NAME"),
    ],
)
def test_hub_bad_input(hub, spec, message):
    hub["openai/gsm8k"] = {("main", "train"): [{"question": "Q", "answer": "a\n#### 3"}], ("main", "test"): []}
    hub["some/one"] = {(None, "only"): [rows(1)[0], rows(1)[0] | {"answer": None}]}
    with pytest.raises(UserError, match=message):
        load_problems(spec)


def test_an_impossible_hub_name_is_not_called_a_network_failure():
    with pytest.raises(UserError, match="the hub refuses the data set 'no spaces/allowed'"):
        load_problems("hub:no spaces/allowed")


def test_no_hub_reachable_is_one_line(monkeypatch, capfd):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)  # set in the environment of some who run the tests
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="no hub could be reached for the data set 'openai/gsm8k'") as error:
        load_problems("hub:openai/gsm8k:test")
    assert "a path to a .jsonl or .parquet file works without a hub" in str(error.value) and "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


# Bad input


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], r"bad\.jsonl: no problems in it"),
        (["", "  "], r"bad\.jsonl: no problems in it"),
        ([rows(1)[0], '{"question": "Q", '], r"bad\.jsonl line 2: not valid JSON"),
        ([rows(1)[0], "", "[1]"], r"bad\.jsonl line 3: a JSON list; each line must be one JSON object"),
        (["[" * 100_000], r"line 1: not valid JSON"),
        ([rows(1)[0], {"id": "b", "question": "Q"}], r"line 2: no column for the answer; there are: id, question"),
        ([rows(1)[0], {"question": "Q", "answer": None}], r"line 2: no answer"),
        ([{"question": "Q", "answer": "  "}], r"line 1: no answer"),
        ([{"question": "Q", "answer": float("nan")}], r"line 1: no answer"),
        ([{"question": "Q", "answer": ["1"]}], r"line 1: the answer is a list; it must be text or a number"),
        ([{"question": "Q", "answer": True}], r"line 1: the answer is a bool"),
        ([{"question": "Q", "answer": "1" * 1001}], r"line 1: the answer has 1001 characters, over the 1000 that graders read"),
        ([{"question": " ", "answer": "1"}], r"line 1: no prompt \(column 'question' is ' '\)"),
        ([{"question": 5, "answer": "1"}], r"line 1: no prompt \(column 'question' is 5\)"),
        (
            [{"text": "Q", "answer": "1"}],
            r"line 1: no column for the prompt; there are: text, answer; name it with `columns` prompt=COLUMN",
        ),
        ([{"question": "Q", "answer": "1", "solution": 5}], r"line 1: the solution is a int; it must be text"),
        (['{"question": "\\ud800", "answer": "1"}'], r"line 1: the prompt is not valid Unicode text"),
        ([{"question": "Q", "answer": "1", "grader": "lab"}], r"line 1: grader is 'lab'; allowed: math, exact"),
        ([{"id": "same", "question": "Q", "answer": "1"}] * 2, r"problem id 'same' occurs twice in .*bad\.jsonl; ids must differ"),
        ([rows(1)[0], {"question": "Q", "answer": "steps\n#### 5"}], r"line 2: the answer holds a GSM8K solution"),
        ([{"question": "Q", "answer": "steps\n#### 5"}, rows(1)[0] | {"answer": "5"}], r"line 2: the answer has nothing after '####'"),
        ([{"question": "Q", "answer": "steps\n####  "}], r"line 1: the answer has nothing after '####'"),
        ([{"question": "Q", "choices": ["a"], "answer": 0}], r"line 1: choices is \['a'\]; it must list 2 to 26 answers"),
        (
            [{"question": "Q", "choices": ["a", "b"], "answer": 2}],
            r"line 1: answer is 2; it must be the number of the correct choice, 0 to 1",
        ),
        ([{"question": "Q", "choices": ["a", "b"]}], r"line 1: answer is None"),
        ([DAPO_ROW | {"prompt": []}], r"line 1: prompt must be text or a list of one chat message"),
        ([DAPO_ROW | {"reward_model": {}}], r"line 1: no answer"),
    ],
)
def test_bad_jsonl(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        load_problems(write(tmp_path / "bad.jsonl", content))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"answer": "gold"}, r"line 1: no column 'gold' \(mapped to answer\); there are: id, question, answer"),
        (
            {"reply": "answer"},
            r"line 1: `columns` maps 'reply', which is no field of a problem; allowed: id, prompt, answer, solution, grader",
        ),
    ],
)
def test_bad_columns(tmp_path, columns, message):
    with pytest.raises(UserError, match=message):
        load_problems(write(tmp_path / "mine.jsonl", rows(2)), columns=columns)


def test_bad_bytes(tmp_path):
    (tmp_path / "bad.jsonl").write_bytes(json.dumps(rows(1)[0]).encode() + b'\n{"question": "\xff"}\n')
    with pytest.raises(UserError, match=r"bad\.jsonl line 2: not UTF-8 \(byte 14\)"):
        load_problems(str(tmp_path / "bad.jsonl"))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match=r"bad\.parquet: not a readable parquet file"):
        load_problems(str(tmp_path / "bad.parquet"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grader": "lucky"}, "row 0: grader is 'lucky'; allowed: math, lab, exact"),
        ({"metadata": "{"}, "row 0: metadata is not JSON"),
        ({"metadata": "[]"}, "row 0: metadata must be a JSON object"),
        ({"grader": "lab", "metadata": "{}"}, "with family and entry where the grader is lab"),
        ({"answer": None}, r"row 0: no answer"),
    ],
)
def test_bad_saved_problems(tmp_path, change, message):
    good = {"id": "a", "prompt": "Q", "answer": "1", "solution": None, "source": "s", "split": "t", "grader": "math", "metadata": "{}"}
    pq.write_table(pa.Table.from_pylist([good | change]), tmp_path / "bad.parquet")
    with pytest.raises(UserError, match=message):
        load_problems(str(tmp_path / "bad.parquet"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spec": "absent.jsonl"}, r"source 'absent\.jsonl': no such file"),
        ({"spec": "x" * 5000 + ".jsonl"}, "no such file"),
        ({"spec": "data.csv"}, r"source 'data\.csv': must be lab:SPLIT, hub:OWNER/NAME, or a path that ends in \.jsonl or \.parquet"),
        ({"spec": ""}, "has an empty name"),
        ({"spec": "lab:mid,"}, "has an empty name"),
        ({"spec": "lab:easy"}, "lab:easy is not a lab split; known: .*lab:train, lab:pool, lab:mid"),
        ({"spec": "lab:mid,lab:mid", "limit": 2}, "problem id 'mid-0-0000000' occurs twice"),
        ({"spec": "lab:mid", "limit": 0}, "`limit` 0 must be at least 1"),
        ({"spec": "lab:mid", "seed": -1}, "`seed` -1 must be at least 0"),
        ({"spec": "lab:mid", "columns": {"prompt": "q"}}, "only files and hub data sets have columns"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(UserError, match=message):
        load_problems(**arguments)


def test_a_folder_is_not_a_file(tmp_path):
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(UserError, match=r"folder\.jsonl': not a file"):
        load_problems(str(tmp_path / "folder.jsonl"))


def test_duplicate_ids_are_found_across_sources_and_in_streams(tmp_path):
    one, two = write(tmp_path / "one.jsonl", rows(2)), write(tmp_path / "two.jsonl", rows(2))
    with pytest.raises(UserError, match=r"problem id 'r0' occurs twice in .*one\.jsonl and .*two\.jsonl"):
        load_problems(f"{one},{two}")
    with pytest.raises(UserError, match="occurs twice"):
        list(stream_problems(f"{one},{two}"))


def test_row_functions_raise_without_a_place():
    with pytest.raises(RowError, match=r"^no answer$"):
        dapo(DAPO_ROW | {"reward_model": {"ground_truth": ""}}, ORIGIN)
