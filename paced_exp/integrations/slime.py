"""Two hooks for slime's on-policy distillation, which weigh a response's reverse KL by its problem's weight.

    --custom-rm-path slime.rollout.on_policy_distillation.reward_func     # as without weights
    --custom-reward-post-process-path paced_exp.integrations.slime.rewards
    --custom-advantage-function-path paced_exp.integrations.slime.advantages
    --metadata-key metadata --use-opd --opd-type sglang

slime gives token t of response i the advantage -c (log pi_student - log pi_teacher), c being `--opd-kl-coef`. With the hooks it is w_i times that.
slime sends no metadata to training, but rewards, which are all zero in pure distillation: the weight travels as the reward. slime subtracts its
penalty after the hook, so the hook gives c (1 - w_i) (log pi_student - log pi_teacher). `paced export --format slime` writes the data.
"""

from collections.abc import Sequence
from typing import Any

from paced_exp.core.errors import UserError
from paced_exp.integrations.peers import taken_from
from paced_exp.integrations.row_weight import weight_in


def rewards(args: Any, samples: Sequence[Any], **kwargs: Any) -> tuple[list[float], list[float]]:
    """The weights as rewards, after slime's own post-processing, which keeps the teacher's log-probabilities in each sample.

    Raises `UserError` for a sample without a weight in its metadata, or with a negative one, and for a slime without the post-processing that
    is expected.
    """
    (post_process_rewards,) = taken_from("slime.rollout.on_policy_distillation", "post_process_rewards")
    post_process_rewards(args, samples, **kwargs)
    found = [_weight(sample) for sample in samples]
    return found, found


def advantages(args: Any, rollout_data: dict[str, Any]) -> None:
    """Write lists of `advantages` and `returns`, (tokens,) a response, into slime's `rollout_data`; slime's penalty then makes w of it.

    Raises `UserError` for options under which the weights would be lost.
    """
    if not args.use_opd:
        raise UserError("`use_opd` is not set, so there is nothing to weigh; add --use-opd --opd-type sglang")
    if args.normalize_advantages:
        raise UserError("`normalize_advantages` would scale the weights away; leave --normalize-advantages out")
    student = rollout_data["rollout_log_probs" if args.use_rollout_logprobs else "log_probs"]
    teacher, weights = rollout_data["teacher_log_probs"], rollout_data["rewards"]
    made = [args.opd_kl_coef * (1 - float(w)) * (s - t.to(s.device)) for w, s, t in zip(weights, student, teacher, strict=True)]
    rollout_data["advantages"], rollout_data["returns"] = made, list(made)


def _weight(sample: Any) -> float:
    fix = "write the data with: paced export --format slime, and give --metadata-key metadata"
    return weight_in(sample.metadata or {}, "a sample has the {} in its metadata", fix)
