"""Sample a teacher's references for a set of problems, once for all distillations that read them.

    python -m paced_exp.references                                         # the lab's teacher on the lab's training problems
    python -m paced_exp.references --student Qwen/Qwen3-1.7B --teacher Qwen/Qwen3-8B --problems problems.jsonl --candidates 4 \\
        --max-new-tokens 8192 --teacher-statistics topk --out runs/references
    python -m paced_exp.distill --references runs/references --cache runs/references/teacher_cache ...   # the same models and options

A reference is the first of the teacher's candidates that is graded correct. If none is, --fallback decides: the worked solution, or no reference.
Writes references.parquet, a journal for distill --references, a cache for distill --cache (with --teacher-statistics), and record.json into --out.
After a kill, the same command continues.
"""

from pathlib import Path

from paced_exp.core import config as configs
from paced_exp.core.errors import exit_cleanly
from paced_exp.training.references_config import ReferencesConfig


@configs.command(ReferencesConfig, "paced_exp.references", "A teacher's references for distillations.")
def main(config: ReferencesConfig) -> None:
    """Make the references and print how many there are of each origin."""
    from paced_exp.training.references_run import sample_references  # torch takes seconds to load, and a bad option should not

    record = sample_references(config)
    print("references: " + ", ".join(f"{count} {origin}" for origin, count in record["references"].items()))
    if (cache := record["cache"]) is not None:
        print(f"teacher statistics: {cache['entries']} entries, {cache['bytes'] / 1e6:.1f} MB")
        print(Path(config.cache) if config.cache is not None else Path(config.out) / "teacher_cache")
    print(Path(config.out) / "references.parquet")


if __name__ == "__main__":
    exit_cleanly(main)
