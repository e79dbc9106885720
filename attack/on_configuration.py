"""Hostile configuration files, files of problems and models' config.json. Each is refused in one line, within seconds."""

import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from attack.harness import Attack
from paced_exp.core import config
from paced_exp.core.errors import UserError
from paced_exp.data.sources import load_problems

SECONDS = 20  # of CPU time; each attack takes well under a second


@dataclass(frozen=True)
class Options:
    """Options of a command.

    Attributes:
        K: rollouts
        name: a string
        columns: a mapping
    """

    K: int = 8
    name: str = "x"
    columns: dict[str, str] | None = None


def one_line(attempt: Callable[[Path], object]) -> Callable[[Path], None]:
    """Assert that the attempt soon raises a `UserError` of one line."""

    def run(folder: Path) -> None:
        began = time.process_time()
        try:
            attempt(folder)
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 800, str(error)
        else:
            raise AssertionError("it was accepted")
        assert time.process_time() - began < SECONDS
        assert not (Path("ran").exists() or (folder / "ran").exists()), "something ran"

    return run


def yaml_file(text: str | bytes) -> Callable[[Path], None]:
    """A file given with --config, and the same file as a run folder's configuration."""

    def attempt(folder: Path) -> None:
        path = folder / "config.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode(errors="surrogatepass"))
        try:
            config.parse(Options, ["--config", str(path)], "paced_exp.command", "A command.")
        except UserError:
            found = config.read_yaml(path)  # raises too, or returns values that no command accepts
            Options(**found)
            raise

    def run(folder: Path) -> None:
        try:
            attempt(folder)
        except TypeError as error:
            raise UserError(str(error)) from error

    return one_line(run)


def problem_file(text: str | bytes, **options: object) -> Callable[[Path], None]:
    def attempt(folder: Path) -> None:
        path = folder / "problems.jsonl"
        path.write_bytes(text if isinstance(text, bytes) else text.encode(errors="surrogatepass"))
        load_problems(str(path), **options)  # type: ignore[arg-type]

    return one_line(attempt)


def row(**changes: object) -> str:
    return json.dumps({"prompt": "P", "answer": "1", **changes})


_CHAIN = list("abcdefghijklmnop")
BILLION_LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n" for before, after in itertools.pairwise(_CHAIN)
)
YAML = {
    "billion laughs": BILLION_LAUGHS,
    "billion laughs in a mapping": BILLION_LAUGHS + "columns: *p\n",
    "quadratic aliases": "a: &a " + "x" * 50_000 + "\nb: [" + ", ".join(["*a"] * 5_000) + "]\n",
    "an alias of itself": "K: &K [*K]\n",
    "merge keys": "x: &x {K: 1}\ny: {<<: *x}\n",
    "lists 30,000 deep": "K: " + "[" * 30_000,
    "mappings 3,000 deep": "columns: " + "{a: " * 3_000 + "1" + "}" * 3_000,
    "indents 400 deep": "\n".join(" " * depth + "a:" for depth in range(400)),
    "over the size": "# " + "x" * 200_000 + "\nK: 1\n",
    "a Python object": "K: !!python/object/apply:os.system ['touch ran']\n",
    "a Python name": "name: !!python/name:os.system\n",
    "a new object": "K: !!python/object/new:type {args: [z, !!python/tuple [], {}]}\n",
    "a module": "K: !!python/module:os\n",
    "an unknown tag": "K: !thing 3\n",
    "5,000 digits": "K: " + "9" * 5_000,
    "30 digits": "K: " + "9" * 30,
    "a number with an exponent": "K: 1e999",
    "not a number": "K: .nan",
    "sexagesimal digits": "K: " + ":".join(["59"] * 2_000),
    "not UTF-8": b"K: \xff\xfe\n",
    "UTF-16": "K: 3\n".encode("utf-16"),
    "NUL": b"K: \x003\n",
    "control characters": b"K: \x01\x02\n",
    "a list": "- K\n",
    "text": "K",
    "several documents": "K: 1\n---\nK: 2\n",
    "an unknown option": "evil: 1\n",
    "a wrong type": "K: {a: 1}\n",
    "an unclosed quote": 'K: "' + "x" * 50_000,
    "a key that is a list": "? [a, b]\n: 1\n",
}
PROBLEMS = {
    "infinite answer": '{"prompt": "P", "answer": Infinity}',
    "minus infinity": '{"prompt": "P", "answer": -Infinity}',
    "1e999": '{"prompt": "P", "answer": 1e999}',
    "not a number": '{"prompt": "P", "answer": NaN}',
    "an answer of 5,000 digits": '{"prompt": "P", "answer": ' + "9" * 5_000 + "}",
    "an answer of 4,000 digits": '{"prompt": "P", "answer": ' + "9" * 4_000 + "}",
    "an answer of a megabyte": row(answer="9" * 1_000_000),
    "brackets 1,000,000 deep": "[" * 1_000_000,
    "an answer that is 100,000 deep": '{"prompt": "P", "answer": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "objects 100,000 deep": '{"a":' * 100_000,
    "metadata 100,000 deep": row(
        id="i", solution=None, source="s", split="s", grader="math", metadata="[" * 100_000
    ),
    "a lab problem without its entry": row(id="i", solution=None, source="s", split="s", grader="lab", metadata="{}"),
    "an unknown grader": row(grader="eval"),
    "a lone surrogate": row(prompt="\ud800"),
    "not UTF-8": b'{"prompt": "\xff", "answer": "1"}',
    "UTF-16": row().encode("utf-16"),
    "NUL bytes": b"\x00" * 1_000,
    "a list": "[1, 2]",
    "a text": '"x"',
    "an empty file": "",
    "blank lines": "\n" * 100_000,
    "no answer": row(answer=None),
    "an answer that is a list": row(answer=["1"]),
    "a prompt that is a number": row(prompt=3),
    "a boolean for an answer": row(answer=True),
    "one id twice": row(id="a") + "\n" + row(id="a"),
    "an unknown column": row(),
}  # fmt: skip


def model(**changes: object) -> Callable[[Path], None]:
    """A model folder with impossible values in config.json."""

    def attempt(folder: Path) -> None:
        import shutil

        from paced_exp.models.lab_checkpoints import checkpoint_path
        from paced_exp.models.loading import load_model

        copy = Path(shutil.copytree(checkpoint_path("student"), folder / "model"))
        values = json.loads((copy / "config.json").read_text()) | changes
        (copy / "config.json").write_text(json.dumps(values))
        load_model(str(copy), device="cpu")

    return one_line(attempt)


MODELS: dict[str, dict[str, object]] = {
    "no heads": {"num_attention_heads": 0},
    "negative heads": {"num_attention_heads": -4},
    "a billion layers": {"num_hidden_layers": 10**9},
    "a huge vocabulary": {"vocab_size": 10**12},
    "a huge width": {"hidden_size": 10**9},
    "a huge inner width": {"intermediate_size": 10**12},
    "no width": {"hidden_size": 0},
    "text for a number": {"hidden_size": "wide"},
    "a list for a number": {"num_hidden_layers": [2]},
    "null heads": {"num_attention_heads": None, "num_key_value_heads": "x"},
    "an unknown activation": {"hidden_act": "__import__('os').system('touch ran')"},
    "an unknown type of model": {"model_type": "../../etc/passwd"},
    "its own code": {"auto_map": {"AutoModelForCausalLM": "evil.Model"}},
    "an unknown dtype": {"dtype": "float3"},
    "an end-of-sequence token outside the vocabulary": {"eos_token_id": 10**9},
}

ATTACKS = [
    *(Attack("configuration", f"YAML: {name}", yaml_file(text)) for name, text in YAML.items()),
    *(
        Attack(
            "configuration", f"problems: {name}", problem_file(text, columns={"prompt": "nowhere"} if name == "an unknown column" else None)
        )
        for name, text in PROBLEMS.items()
    ),
    *(Attack("configuration", f"model: {name}", model(**changes), slow=True) for name, changes in MODELS.items()),
]
