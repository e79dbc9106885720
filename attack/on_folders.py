"""Damaged and forged journals and files of pass rates. Each is refused in one line, or the run goes on without the damaged part."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from attack.harness import Attack, refused
from paced_exp.core.errors import UserError
from paced_exp.rollouts import store as stores
from paced_exp.rollouts.pass_rates import FINGERPRINT_KEY, Fingerprint, pass_rates, read_pass_rates, write_pass_rates
from paced_exp.rollouts.references import read_references
from paced_exp.rollouts.store import ChunkStore

K, VOCABULARY = 8, 50
_FINGERPRINT = Fingerprint("sha256:student", "sha256:template", 1.0, 128)


def _rows(index: int) -> list[dict[str, Any]]:
    return [
        {
            "problem_id": f"p{index}",
            "sample": sample,
            "seed": sample,
            "token_ids": [index, sample, 1],
            "finished": True,
            "response": f"{index} {sample}",
            "correct": sample < index,
        }
        for sample in range(K)
    ]


def _reference(index: int, **changes: Any) -> dict[str, Any]:
    return {"problem_id": f"p{index}", "token_ids": [index, 1], "origin": "teacher", "candidates": 4, "correct": 2} | changes


def _read_all(folder: Path, name: str = "rollouts") -> None:
    """Do with a journal what a resumed run does: open it, check K, count, and write the finished file."""
    store = ChunkStore(folder, name)
    if name == "references":
        read_references(store, VOCABULARY)
    else:
        store.check_samples(store.done_ids(), K)
        store.outcomes()
    store.finalise()


def _journal(folder: Path, rows: list[list[dict[str, Any]]], *, checksums: bool, name: str = "rollouts") -> Path:
    """Write a journal of these chunks. checksums: as this version writes it; otherwise as earlier versions did."""
    if checksums:
        store = ChunkStore(folder, name)
        for chunk in rows:
            store.append(chunk)
    else:
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(chunk) + "\n" for chunk in rows))
    return folder / f"{name}.jsonl"


def _changed_row(change: dict[str, Any], last: bool) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        bad = [*_rows(1)[:-1], _rows(1)[-1] | change]
        _journal(folder, [_rows(0), bad, *([] if last else [_rows(2)])], checksums=False)
        refused(lambda: _read_all(folder), "rollouts.jsonl line 2", "sed -i 2d", "run the same command again")

    return run


def _bad_line(line: bytes, checksums: bool) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        journal = _journal(folder, [_rows(0), _rows(1), _rows(2)], checksums=checksums)
        lines = journal.read_bytes().splitlines(keepends=True)
        content = lines[0] + line + lines[2]
        journal.write_bytes(content)
        refused(lambda: _read_all(folder), "rollouts.jsonl line 2")
        assert journal.read_bytes() == content, "the journal was overwritten"

    return run


def _torn(folder: Path) -> None:
    """After a kill only the half line is made again."""
    journal = _journal(folder, [_rows(0), _rows(1), _rows(2)], checksums=True)
    content = journal.read_bytes()
    journal.write_bytes(content[:-40])
    store = ChunkStore(folder, "rollouts")
    assert store.done_ids() == {"p0", "p1"}
    store.append(_rows(2))
    assert journal.read_bytes() == content


def _flips(checksums_of: Callable[[Path], Path], read: Callable[[Path], Any], step: int) -> Callable[[Path], None]:
    """Flip one bit in every `step`-th byte of a file. It is refused in one line, or the rows read are a beginning of those written."""

    def run(folder: Path) -> None:
        path = checksums_of(folder)
        good, rng = path.read_bytes(), np.random.default_rng(0)
        whole = read(folder)
        stores.logger.addFilter(silent := lambda _: False)  # every flip in the last line gives a warning
        for place in range(0, len(good), step):
            bad = bytearray(good)
            bad[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(bad)
            try:
                found = read(folder)
            except UserError as error:
                assert "\n" not in str(error)
            else:
                assert found == whole[: len(found)], f"bit flipped in byte {place}"
        stores.logger.removeFilter(silent)

    return run


def _command_in_the_message(folder: Path) -> None:
    """The command in the message deletes the damaged line and nothing else, whatever the folder's name is."""
    odd = folder / "it's $(touch x) here"
    odd.mkdir()
    journal = _journal(odd, [_rows(0), _rows(1), _rows(2)], checksums=True)
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0] + b"[]\n" + lines[2])
    try:
        ChunkStore(odd, "rollouts")
    except UserError as error:
        command = str(error).split("take the line out (", 1)[1].split(") and run", 1)[0]
        subprocess.run(command, shell=True, check=True, cwd=folder)
    assert ChunkStore(odd, "rollouts").done_ids() == {"p0", "p2"} and not (folder / "x").exists()


def _twice(checksums: bool) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        journal = _journal(folder, [_rows(0), _rows(1)], checksums=checksums)
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"".join([*lines, lines[0]]) + lines[1][:10])
        refused(lambda: _read_all(folder), "line 3", "'p0'", "line 1 holds already")

    return run


def _samples(chosen: list[int], checksums: bool) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        _journal(folder, [_rows(0), [_rows(1)[sample] for sample in chosen], _rows(2)], checksums=checksums)
        refused(lambda: _read_all(folder), "line 2", "'p1'", f"{len(chosen)} of its {K} samples")

    return run


def _bad_reference(change: dict[str, Any], checksums: bool) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        _journal(folder, [[_reference(0)], [_reference(1, **change)], [_reference(2)]], checksums=checksums, name="references")
        refused(lambda: _read_all(folder, "references"), "references.jsonl line 2")

    return run


def _rates(folder: Path) -> Path:
    import pandas as pd

    frame = pd.DataFrame([row for index in range(4) for row in _rows(index)])
    write_pass_rates(folder / "pass_rates.parquet", pass_rates(frame), _FINGERPRINT)
    return folder / "pass_rates.parquet"


def _own(text: str, *named: str) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        path = folder / "mine.jsonl"
        path.write_text(text)
        refused(lambda: read_pass_rates(path, None), "mine.jsonl", *named)

    return run


def _marked(folder: Path) -> None:
    """A byte-order mark is skipped."""
    path = folder / "mine.jsonl"
    path.write_text('{"problem_id": "a", "k": 1, "K": 8}\n', encoding="utf-8-sig")
    assert read_pass_rates(path, None).to_dict("records") == [{"problem_id": "a", "k": 1, "K": 8}]


def _columns(**values: Any) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        path = _rates(folder)
        table = pq.read_table(path).replace_schema_metadata(None)
        for name, column in values.items():
            table = table.set_column(table.column_names.index(name), name, pa.array(column))
        pq.write_table(table, path)
        refused(lambda: read_pass_rates(path, None), "pass_rates.parquet")

    return run


def _metadata(text: str) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        path = _rates(folder)
        pq.write_table(pq.read_table(path).replace_schema_metadata({FINGERPRINT_KEY: text}), path)
        refused(lambda: read_pass_rates(path, _FINGERPRINT), "pass_rates.parquet")

    return run


def _stored_rows(folder: Path) -> list[Any]:
    store = ChunkStore(folder, "rollouts")
    store.outcomes()
    return list(store.chunks())


_DEEP = b"[" * 200_000 + b"]" * 200_000
_LINES = {
    "nothing but zeros": b"\0" * 4000 + b"\n",
    "no JSON": b"{\n",
    "no UTF-8": b"\xff\xfe\n",
    "an empty list": b"[]\n",
    "an empty line": b"\n",
    "an object": b'{"problem_id": "p1"}\n',
    "a row without problem_id": b'[{"sample": 0}]\n',
    "rows that are lists": b"[[1, 2]]\n",
    "brackets 200,000 deep": _DEEP + b"\n",
    "a row with brackets 200,000 deep": b'[{"problem_id": "p1", "token_ids": ' + _DEEP + b"}]\n",
    "a number of 100,000 digits": b'[{"problem_id": "p1", "sample": ' + b"9" * 100_000 + b"}]\n",
    "a head that claims a terabyte": b'{"crc":"00000000","bytes":999999999999,"head":999999999,"rows_crc":"00000000","columns":[]\n',
}
_CHANGES: dict[str, dict[str, Any]] = {
    "correct as text": {"correct": "yes"},
    "correct as a number": {"correct": 1},
    "correct null": {"correct": None},
    "finished as a list": {"finished": [True]},
    "sample negative": {"sample": -1},
    "sample as text": {"sample": "7"},
    "sample twice": {"sample": 0},
    "seed beyond 64 bits": {"seed": 2**70},
    "tokens as text": {"token_ids": "1 2 3"},
    "tokens nested": {"token_ids": [[1]]},
    "tokens as fractions": {"token_ids": [1.5]},
    "tokens as booleans": {"token_ids": [True]},
    "a token negative": {"token_ids": [-1]},
    "a token of 30 digits": {"token_ids": [10**30]},
    "response as an object": {"response": {}},
    "a lone surrogate": {"response": "\ud800"},
    "an extra column": {"extra": 1},
}
_REFERENCES: dict[str, tuple[dict[str, Any], bool]] = {
    "an id outside the vocabulary": ({"token_ids": [VOCABULARY]}, True),
    "an id outside the vocabulary, without checksum": ({"token_ids": [VOCABULARY]}, False),
    "an unknown origin": ({"origin": "nowhere"}, True),
    "more correct than candidates": ({"correct": 5}, True),
    "a negative id": ({"token_ids": [-1]}, False),
    "candidates as text": ({"candidates": "4"}, False),
    "correct as true": ({"correct": True}, False),
    "tokens null": ({"token_ids": None}, False),
}
_OWN = {
    "k above K": '{"problem_id": "a", "k": 9, "K": 8}',
    "k negative": '{"problem_id": "a", "k": -1, "K": 8}',
    "K zero": '{"problem_id": "a", "k": 0, "K": 0}',
    "k a fraction": '{"problem_id": "a", "k": 0.5, "K": 8}',
    "k true": '{"problem_id": "a", "k": true, "K": 8}',
    "k infinite": '{"problem_id": "a", "k": Infinity, "K": 8}',
    "K of 400 digits": '{"problem_id": "a", "k": 1, "K": ' + "9" * 400 + "}",
    "K of 5,000 digits": '{"problem_id": "a", "k": 1, "K": ' + "9" * 5000 + "}",
    "an id that is a list": '{"problem_id": ["a"], "k": 1, "K": 8}',
    "an id that is null": '{"problem_id": null, "k": 1, "K": 8}',
    "a problem twice": '{"problem_id": "a", "k": 1, "K": 8}\n{"problem_id": "a", "k": 1, "K": 8}',
    "brackets 200,000 deep": "[" * 200_000,
    "nothing": "",
}
_COLUMNS: dict[str, dict[str, Any]] = {
    "ids as numbers": {"problem_id": [0, 1, 2, 3]},
    "ids as lists": {"problem_id": [["p0"], ["p1"], ["p2"], ["p3"]]},
    "an id null": {"problem_id": ["p0", None, "p2", "p3"]},
    "an id twice": {"problem_id": ["p0", "p0", "p2", "p3"]},
    "k as booleans": {"k": [False, True, True, True]},
    "k null": {"k": [0, None, 2, 3]},
    "k above K": {"k": [0, 1, 2, 9]},
    "K infinite": {"K": [8.0, 8.0, 8.0, float("inf")]},
    "K of 2 to the 40": {"K": [8, 8, 8, 2**40]},
    "p_hat not k / K": {"p_hat": [0.0, 0.125, 0.25, 0.5]},
    "p_hat as text": {"p_hat": ["0", "0", "0", "0"]},
}

ATTACKS = [
    *(
        Attack("folders", f"a journal row without checksum{' at the end' if last else ''}: {name}", _changed_row(change, last))
        for name, change in _CHANGES.items()
        for last in (False, True)
    ),
    *(
        Attack(
            "folders", f"a line in the middle of a journal{'' if checksums else ' without checksums'}: {name}", _bad_line(line, checksums)
        )
        for name, line in _LINES.items()
        for checksums in (True, False)
    ),
    Attack("folders", "a journal's last line torn by a kill", _torn),
    Attack("folders", "the message's command in a folder with an odd name", _command_in_the_message),
    Attack(
        "folders",
        "a bit flipped in each 7th byte of a journal",
        _flips(lambda f: _journal(f, [_rows(i) for i in range(4)], checksums=True), _stored_rows, 7),
    ),
    Attack(
        "folders",
        "a bit flipped in each byte of a journal",
        _flips(lambda f: _journal(f, [_rows(i) for i in range(4)], checksums=True), _stored_rows, 1),
        slow=True,
    ),
    *(Attack("folders", f"a problem twice{'' if checksums else ', without checksums'}", _twice(checksums)) for checksums in (True, False)),
    *(
        Attack("folders", f"samples {chosen} of {K}{'' if checksums else ', without checksums'}", _samples(chosen, checksums))
        for chosen in ([0, 1, 2], [0], [1, 2, 3, 4, 5, 6, 7])
        for checksums in (True, False)
    ),
    *(Attack("folders", f"a reference: {name}", _bad_reference(*change)) for name, change in _REFERENCES.items()),
    Attack("folders", "the user's own pass rates with a byte-order mark", _marked),
    *(Attack("folders", f"the user's own pass rates: {name}", _own(text)) for name, text in _OWN.items()),
    *(Attack("folders", f"pass rates in parquet: {name}", _columns(**values)) for name, values in _COLUMNS.items()),
    *(Attack("folders", f"pass rates with a fingerprint {text[:5]}", _metadata(text)) for text in ("[1]", "{", "[" * 200_000)),
    Attack(
        "folders",
        "a bit flipped in each 3rd byte of a file of pass rates",
        _flips(_rates, lambda f: read_pass_rates(f / "pass_rates.parquet", _FINGERPRINT).to_dict("records"), 3),
        slow=True,
    ),
]
