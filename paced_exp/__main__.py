"""All commands of the package under one name: `paced VERB ...` runs `python -m MODULE ...`.

paced                                     # lists the verbs
paced probe --help
paced weights counts.jsonl --out weights.jsonl
"""

import difflib
import runpy
import sys

from paced_exp.core.extras import install, missing_package

VERBS = {
    "probe": ("paced_exp.snr_probe", "measure gradient SNR against the student's pass rate"),
    "rollout": ("paced_exp.rollout", "roll out a student and estimate its pass rates"),
    "merge": ("paced_exp.merge", "join the shards of a run of rollouts"),
    "weights": ("paced_exp.weights", "compute weights from counts; needs only numpy and scipy"),
    "export": ("paced_exp.export", "write weights in the form that another trainer reads: prime-rl, verl, NeMo-RL or slime"),
    "references": ("paced_exp.references", "sample a teacher's references, for many distillations"),
    "teacher": ("paced_exp.teacher", "train a teacher by policy gradient on its own graded rollouts (GRPO and its neighbours)"),
    "distill": ("paced_exp.distill", "distil a teacher into a student, with weighted problems"),
    "evaluate": ("paced_exp.evaluate", "measure mean@n, pass@k and length of a model's responses"),
    "compress": ("paced_exp.compress", "quantise and prune a model, and measure the accuracy it keeps and its size"),
    "verify": ("paced_theory.verify", "check every claim of the theory"),
    "reproduce": ("paced_exp.reproduce", "run the experiments behind the paper's tables and figures"),
}


def main() -> None:
    """Run the verb that the command line names, as `python -m` would, or list all verbs."""
    verb, *rest = sys.argv[1:] or ["--help"]
    if verb in ("-h", "--help"):
        print("usage: paced VERB [OPTIONS]\n\nPACED: distillation weighted by the student's pass rate (arXiv 2603.11178). The verbs:\n")
        print("\n".join(f"  {name:<10} {does}  (python -m {module})" for name, (module, does) in VERBS.items()))
        print("\npaced VERB --help lists the options of a verb.")
    elif verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        meant = f"did you mean {near[0]}?" if near else f"known: {', '.join(VERBS)}"
        sys.exit(_refused(f"paced has no verb {verb!r}; {meant}"))
    else:
        _run(VERBS[verb][0], rest)


def _run(module: str, arguments: list[str]) -> None:
    sys.argv = [sys.argv[0], *arguments]
    try:
        # The module must run as __main__, and not be imported, since worker processes look for the module that is __main__.
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except ModuleNotFoundError as error:
        if (missing := missing_package(error)) is None:
            raise
        sys.exit(_refused(f"this verb needs {missing}, which is not installed; run: {install('run')}"))


def _refused(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
