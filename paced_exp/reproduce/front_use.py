"""Should one use the weights? A row for each case of a reader: what to try, and the difference that says so. Rows whose runs are not whole are left out."""

from paced_exp.reproduce.advice import at_equal_compute, compared_at_equal_updates, flops_of, repeated
from paced_exp.reproduce.front_effects import (
    AKL,
    AKL_SHORT,
    BOTH,
    FILTER,
    PACED,
    SELF,
    SELF_AKL,
    SELF_AKL_TO_PACED,
    Asked,
    effect,
    measured_rows,
    sign,
)
from paced_exp.reproduce.printed_table import fixed, with_interval
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import Scale

NOTHING = "The runs that would tell are not done yet."
_HEAD = ("your case", "try", "measured, points of accuracy")


def use(results: Results, scale: Scale) -> list[str]:
    """The lines of a Markdown table; one sentence where nothing was run."""
    makers = (_counted, _to_count, _short, _repeated, _self)
    rows = [row for maker in makers if (row := maker(results, scale)) is not None]
    return [f"| {' | '.join(row)} |" for row in (_HEAD, ("---",) * len(_HEAD), *rows)] if rows else [NOTHING]


def in_short(results: Results, scale: Scale) -> str:
    """The outcome and the advice in two sentences, by the differences at equal updates and at equal compute; nothing where neither was run."""
    found, akl, both = (effect(results, scale, asked) for asked in (PACED, AKL, BOTH))
    if found is None:
        return ""
    words = {1: "beat", -1: "lose to", 0: "cannot be told from"}[sign(found)]
    said = f"At equal updates PACED's weights {words} no weighting."
    if akl is not None and akl.low > 0:
        better = both is not None and both.low > 0
        advice = "If you have pass counts (k of K), put the weights on AKL; else take AKL alone." if better else "Take AKL alone."
        return f"{said} Another loss, AKL, beats them without weights. {advice}"
    return f"{said} {_use_them(results, scale, sign(found))}"


def _use_them(results: Results, scale: Scale, direction: int) -> str:
    """direction: of the weights' effect at equal updates."""
    if direction <= 0:
        return "Do not use them."
    compute = at_equal_compute(results, scale, "paced")
    if compute is None:
        return "Use them where pass counts (k of K) cost nothing."
    return "Use them." if compute.estimate.low > 0 else "Use them only if you already have pass counts (k of K): to make them does not pay."


def _counted(results: Results, scale: Scale) -> tuple[str, ...] | None:
    """The weights on AKL where they raise it, else whichever of the two is better."""
    case = "you have pass counts"
    both, akl, paced = (effect(results, scale, asked) for asked in (BOTH, AKL, PACED))
    if both is not None and both.low > 0:
        label, compared = compared_at_equal_updates(results, scale)
        best = f"the best of {compared} methods, " if label == "PACED × AKL" else ""
        return (
            case,
            "PACED's weights on the AKL loss",
            f"{with_interval(both)} over AKL without weights ({best}picked after the results were seen: likely too high)",
        )
    if akl is not None and akl.low > 0:
        return case, "AKL without weights", f"{with_interval(akl)} over PACED"
    if paced is not None:
        return case, _weights(sign(paced)), f"{with_interval(paced)} over no weighting"
    return None


def _to_count(results: Results, scale: Scale) -> tuple[str, ...] | None:
    """What needs no rollouts, by its compute; or the comparison with no weighting at equal compute."""
    case = "you would have to count"
    akl = effect(results, scale, AKL)
    rows = measured_rows(results, scale, AKL)
    if akl is not None and rows is not None and akl.low > 0:
        share = flops_of(rows[0]) / flops_of(rows[1])
        return (
            case,
            "AKL without weights",
            f"{with_interval(akl)} over PACED, with {fixed(100 * share, 0)} % of its compute (rollouts included)",
        )
    compute = at_equal_compute(results, scale, "paced")
    if compute is None:
        return None
    return case, _weights(sign(compute.estimate)), f"{with_interval(compute.estimate)} over no weighting at equal compute"


def _short(results: Results, scale: Scale) -> tuple[str, ...] | None:
    """The hard filter, where it beats the weights, beside AKL in the same runs."""
    filtered, akl = (effect(results, scale, asked) for asked in (FILTER, AKL_SHORT))
    if filtered is None or filtered.low <= 0:
        return None
    case = f"only {round(scale.setups['distillation'].updates / 2)} updates"
    hard, gained = "only problems with 0.2 ≤ p ≤ 0.8 (hard filter)", f"{with_interval(filtered)} over PACED"
    if akl is None or akl.low <= 0:
        return case, hard, gained
    return case, f"AKL without weights; with forward KL, {hard}", f"{with_interval(akl)}; {gained}"


def _repeated(results: Results, scale: Scale) -> tuple[str, ...] | None:
    """What the weights do where few problems are visited again and again, by the length of training."""
    lengths = [
        (updates, found)
        for ending, updates in repeated(scale)
        if (found := effect(results, scale, Asked(f"multi-pass/paced{ending}", f"multi-pass/uniform{ending}"))) is not None
    ]
    if not lengths:
        return None
    signs = [sign(found) for _, found in lengths]
    advised = _weights(signs[0]) if len(set(signs)) == 1 else "the weights, in short trainings" if signs[0] > 0 else "no weighting"
    said = ", ".join(f"{with_interval(found)} at {updates}" for updates, found in lengths)
    return "few problems, repeated", advised, f"{said} updates, over no weighting"


def _self(results: Results, scale: Scale) -> tuple[str, ...] | None:
    """AKL on references, which needs no counts, before the weights where it gains and is not told to be worse than they are; alone where it is better."""
    case, found = "self-distillation", effect(results, scale, SELF)
    if found is None:
        return None
    akl, to_paced = (effect(results, scale, asked) for asked in (SELF_AKL, SELF_AKL_TO_PACED))
    if akl is None or to_paced is None or akl.low <= 0 or to_paced.high < 0:
        return case, _weights(sign(found)), f"{with_interval(found)} over no weighting"
    plain = "AKL without weights, on the teacher's responses"
    if found.low <= 0 or to_paced.low > 0:
        return case, plain, f"{with_interval(akl)} over no weighting"
    return case, f"{plain}; or PACED's weights", f"{with_interval(akl)}; {with_interval(found)} over no weighting"


def _weights(direction: int) -> str:
    return {1: "PACED's weights", 0: "either: no difference is seen", -1: "no weighting"}[direction]
