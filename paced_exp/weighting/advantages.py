"""Advantages of policy gradients, from the 0/1 rewards of each problem's group of G rollouts: which rollouts count, and how much.

`group_advantages` gives the advantages of a scheme, `error_penalty` changes those of errors (ACE), and `group_weights` weights whole groups by
their pass rate. A trainer multiplies the score functions grad log pi(y_i) by them and takes the mean over the group.

    scheme       advantage of rollout i; p = k/G, of a group with k correct rollouts     source
    grpo         (r_i - p) / (s + 1e-4), s the sample standard deviation                 arXiv 2402.03300, as TRL computes it
    dr_grpo      r_i - p                                                                 arXiv 2503.20783
    maxrl        (r_i - p) / p, and 0 if k = 0                                           arXiv 2602.02710
    psr          1 if correct, else 0                                                    arXiv 2506.01347
    nsr          -1 if wrong, else 0                                                     arXiv 2506.01347
    w_reinforce  lambda if correct, -1 if wrong; lambda is 0.1 in the paper              arXiv 2506.01347

Expected gradients on a problem of pass rate p: (1 - 1/G) grad p for dr_grpo, and (1 - (1-p)^(G-1))/p grad p for maxrl, whose baseline lowers
the order of the truncated likelihood from G to G - 1 (ours; the test sums over all groups).
"""

from typing import Literal

import numpy as np

from paced_exp.core.errors import UserError
from paced_exp.weighting import Weighting
from paced_exp.weighting.kernels import METHODS

Scheme = Literal["grpo", "dr_grpo", "maxrl", "psr", "nsr", "w_reinforce"]
_EPSILON = 1e-4  # TRL's
GROUP_WEIGHTS = tuple(name for name in METHODS if name != "curve")


def group_advantages(rewards: np.ndarray, scheme: Scheme, positive_weight: float = 0.1) -> np.ndarray:
    """The advantages (n, G) of n groups with rewards (n, G) of 0 or 1. positive_weight: lambda of w_reinforce.

    >>> group_advantages(np.array([[1, 0, 0, 0]]), "maxrl").tolist()
    [[3.0, -1.0, -1.0, -1.0]]
    """
    r = _checked(rewards)
    p = r.mean(axis=1, keepdims=True)
    found: np.ndarray
    if scheme == "grpo":
        found = (r - p) / (r.std(axis=1, ddof=1, keepdims=True) + _EPSILON)
    elif scheme == "dr_grpo":
        found = r - p
    elif scheme == "maxrl":
        found = np.divide(r - p, p, out=np.zeros_like(r), where=p > 0)
    else:
        positive = {"psr": 1.0, "nsr": 0.0, "w_reinforce": positive_weight}[scheme]
        negative = 0.0 if scheme == "psr" else 1.0
        found = positive * r - negative * (1 - r)
    found = found + 0.0  # no negative zeros
    return found


def error_penalty(advantages: np.ndarray, confidence: np.ndarray, strength: float) -> np.ndarray:
    """ACE (arXiv 2602.21420): negative advantages times 1 + strength x softplus(c_i). An error that training made likelier counts more.

    advantages, confidence: of equal shape. confidence: c_i = log pi(y_i|x) - log pi_ref(y_i|x), in nats, over all tokens of the rollout.

    >>> error_penalty(np.array([1.0, -1.0]), np.zeros(2), 1.0).round(4).tolist()
    [1.0, -1.6931]
    """
    if advantages.shape != confidence.shape:
        raise ValueError(f"confidence must have the shape of advantages, {advantages.shape}, got {confidence.shape}")
    factor = 1.0 + strength * np.logaddexp(0.0, confidence)
    return np.where(advantages < 0, advantages * factor, advantages)


def group_weights(rewards: np.ndarray, method: str) -> np.ndarray:
    """The weight w(k/G) of each group, (n,), for rewards (n, G). method: a kernel by name (`GROUP_WEIGHTS`), with its default options.

    The weights are divided by the mean of w(0/G) ... w(G/G), so that they have mean one if all k are equally likely. The weight of a group does
    not depend on the others in its update: dividing by their sum would erase the weight of a group that stands alone.

    >>> group_weights(np.array([[1, 0], [1, 1]]), "paced").tolist()
    [3.0, 0.0]

    Raises `UserError` for an unknown name.
    """
    r = _checked(rewards)
    if method not in GROUP_WEIGHTS:
        raise UserError(f"`group_weight` {method} is not known; known: {', '.join(GROUP_WEIGHTS)}")
    size = r.shape[1]
    kernel = Weighting(method).kernel(np.array([size]))
    values = np.asarray(kernel(np.arange(size + 1) / size), dtype=np.float64)
    weights: np.ndarray = (values / values.mean())[r.sum(axis=1).astype(int)]
    return weights


def _checked(rewards: np.ndarray) -> np.ndarray:
    r = np.asarray(rewards, dtype=np.float64)
    if r.ndim != 2 or r.shape[1] < 2 or not np.isin(r, (0.0, 1.0)).all():
        raise ValueError(f"rewards must be (groups, rollouts) of 0 or 1, at least two rollouts a group, got {r.shape}")
    return r
