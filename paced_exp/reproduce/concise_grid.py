"""The table `concise-one-pass`: does a model that is distilled towards itself under a concise prompt (OPSDC) shorten easy problems most? Exploratory.

Its student, `student-concise`, can follow the concise prompt, which the lab's shipped student cannot. The row `told` is that student under the
prompt which teaches the others: how short, and how right, it is there. All rows answer the same problems 32 times each.
"""

from paced_exp.reproduce.columns import mean_of_tiers, pass_at, tiers, tokens
from paced_exp.reproduce.declared import Row, Table, declare
from paced_exp.reproduce.second_grids import ONE_PASS, PACED, UNIFORM, base_row

SETUP = "concise"
_OPSDC = {**ONE_PASS, "teacher_prompt": "concise", "stages": "reverse_kl"}

declare(
    Table(
        42,
        "concise-one-pass",
        "Concise self-distillation (OPSDC), one pass, 32 samples a problem (exploratory)",
        (
            base_row(SETUP),
            Row("told", "Base, told to be concise", None, SETUP, prompt="concise"),
            Row("uniform", "OPSDC", {**_OPSDC, **UNIFORM}, SETUP),
            Row("paced", "OPSDC, PACED's weights", {**_OPSDC, **PACED}, SETUP),
            # The rate that the rule chose saved nothing on its seed: these show what more of it does.
            Row("rate-2e-4", "OPSDC, twice the rate", {**_OPSDC, **UNIFORM, "learning_rate": 2e-4}, SETUP),
            Row("rate-2e-3", "OPSDC, 20 times the rate", {**_OPSDC, **UNIFORM, "learning_rate": 2e-3}, SETUP),
        ),
        "base",
        (tiers, mean_of_tiers, pass_at, tokens),
        many_samples=True,
        scales=("desk", "smoke"),
        seeds=3,
        exploratory=True,
    )
)
