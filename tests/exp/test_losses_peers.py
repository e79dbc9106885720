"""Divergences against TRL's dense implementation, where TRL is installed (the `bench` extra)."""

import warnings

import pytest
import torch

from paced_exp.losses.divergences import divergence
from paced_exp.losses.problem_loss import Dense, ProblemLoss

pytest.importorskip("trl", reason="TRL is not installed; install the bench extra to compare with it")


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize(("name", "beta"), [("forward_kl", 0.0), ("reverse_kl", 1.0), ("jsd", 0.1), ("jsd", 0.5), ("jsd", 0.9)])
def test_values_and_gradients_are_trls(name: str, beta: float, temperature: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TRL's own imports
        from trl.experimental.gkd import GKDTrainer
    generator = torch.Generator().manual_seed(0)
    student = (3 * torch.randn(4, 6, 300, generator=generator)).requires_grad_(True)
    teacher = 3 * torch.randn(4, 6, 300, generator=generator)
    labels = torch.where(torch.rand(4, 6, generator=generator) < 0.7, 1, -100)
    theirs = GKDTrainer.generalized_jsd_loss(student, teacher, labels, beta=beta, temperature=temperature, reduction="sum")
    loss, taken = ProblemLoss(divergence(name, jsd_beta=beta), temperature, chunk=5), labels != -100
    ours = loss.per_token(student[taken], Dense(teacher[taken]), labels[taken]).sum()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad(value, student, retain_graph=True)[0] for value in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)
