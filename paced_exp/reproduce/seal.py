"""Checksums of the records under a folder: verify them, and give one to records that an older version wrote without.

    python -m paced_exp.reproduce.seal [results]           # verify all, seal what has none
    python -m paced_exp.reproduce.seal --check [results]   # verify all, refuse what has none

A checksum is added after all other fields, which stay as they are, byte for byte. A record whose content does not match its checksum is
refused, never sealed anew. What commands generate from records (claims.json) is no record.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from paced_exp.core import config as configs
from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.core.json_files import read_object, write_checked
from paced_exp.core.options import Options
from paced_exp.reproduce.checks import check_probe
from paced_exp.reproduce.records import read_record, read_sealed

GENERATED = ("claims.json",)


@dataclass(frozen=True, kw_only=True)
class SealConfig(Options):
    """Records.

    Attributes:
        results: folder of records, or one of them; its name may be left out
        check: change nothing: a record without a checksum is an error
    """

    results: Path = field(default=Path("results"), metadata={"positional": True})
    check: bool = False


def record_files(folder: Path) -> list[Path]:
    """Every record under a folder, or the one file. Raises `UserError` where there is none."""
    found = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*.json") if path.name not in GENERATED)
    if not found:
        raise UserError(f"{folder} holds no records; give a folder of records, or one of them")
    return found


def seal(path: Path) -> bool:
    """Give the record a checksum where it has none; whether it was given one. Raises `UserError` for one that is damaged."""
    content = read_object(path)
    if "checksum" in content:
        return False
    before = path.read_text(encoding="utf-8")
    if content.get("kind") == "cell" or before != json.dumps(content, indent=1) + "\n":
        raise UserError(f"{path} is not as a command writes records without a checksum; restore it from git, or delete it and run it again")
    write_checked(path, content)
    return True


def verify(path: Path) -> None:
    """Raise `UserError` for a record without a checksum, with a wrong one, or, of a probe, with numbers that cannot be."""
    content = read_sealed(path)
    if content.get("kind") == "cell":
        read_record(path)
    elif content.get("kind") == "snr_probe":
        check_probe(path, content)


@configs.command(SealConfig, "paced_exp.reproduce.seal", __doc__)
def main(config: SealConfig) -> None:
    """Go through all records and say how many there are and which were sealed."""
    files = record_files(config.results)
    for path in files:
        if not config.check and seal(path):
            print(f"sealed {path}")
        verify(path)
    print(f"{len(files)} records under {config.results} match their checksums")


if __name__ == "__main__":
    exit_cleanly(main)
