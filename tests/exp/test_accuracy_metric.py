"""The metric of an Adam step: the optimiser's own second moment by parameter, or that of mini-batches of the pool; and when it is which."""

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from paced_exp.data.prompts import prompt_ids
from paced_exp.data.sources import load_problems
from paced_exp.losses.alignment import collate
from paced_exp.probe.accuracy_metric import EPS, SIZE, SecondMoment, of_checkpoint, second_moment
from paced_exp.probe.config import ProbeConfig
from paced_exp.rollouts.references import Reference
from paced_exp.training.trainer import PacedTrainer
from tests.support.distill_setup import tiny, trainer

ADAM: dict[str, Any] = {"training_arguments": {}, "batch": 8, "micro_batch": 8}


def trained(folder: Path, source: Path, **options: Any) -> PacedTrainer:
    """A trainer that has trained, its student saved as a distillation saves it."""
    made = trainer(folder, source, **options)
    made.train_or_resume()
    made.save_model(str(folder / "model"))
    return made


def names_of(model: Any) -> dict[int, str]:
    return {id(parameter): name for name, parameter in model.named_parameters()}


def found_in(folder: Path) -> SecondMoment | str:
    student = tiny("qwen3", 0).model
    return of_checkpoint(str(folder / "model"), student, names_of(student))


def test_after_one_update_it_is_the_squared_gradient_of_that_update(tmp_path: Path, source: Path) -> None:
    made = trainer(tmp_path, source, steps=1, **ADAM)
    student, teacher, batch = tiny("qwen3", 0).model, tiny("llama", 1).model, collate(made.data.rows(0, range(8)), 0)
    loss = torch.zeros((), dtype=torch.float64)
    for row in batch.rows:  # the divergence by hand, a row at a time
        logits = [
            model(torch.tensor([[*prompt, *row.response]])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
            for model, prompt in ((student, row.student_prompt), (teacher, row.teacher_prompt))
        ]
        log_s, log_t = logits[0], logits[1].detach()
        loss = loss + row.weight * (log_t.exp() * (log_t - log_s)).sum(-1).mean() / 8
    expected = dict(zip(names_of(student).values(), torch.autograd.grad(loss, list(student.parameters())), strict=True))
    made.train_or_resume()
    made.save_model(str(tmp_path / "model"))
    found = found_in(tmp_path)
    assert (
        isinstance(found, SecondMoment) and found.origin == {"from": "checkpoint", "updates": 1} and found.values.keys() == expected.keys()
    )
    for name, gradient in expected.items():
        torch.testing.assert_close(found.values[name], gradient.square(), rtol=1e-4, atol=1e-9 * float(gradient.square().max()))


def test_later_it_is_the_optimisers_with_its_bias_corrected(tmp_path: Path, source: Path) -> None:
    made = trained(tmp_path, source, **ADAM)
    found = found_in(tmp_path)
    assert isinstance(found, SecondMoment) and found.origin["updates"] == 3
    state = made.optimizer.state
    for name, parameter in made.data.student.model.named_parameters():
        torch.testing.assert_close(found.values[name], state[parameter]["exp_avg_sq"] / (1 - 0.999**3), rtol=1e-12, atol=0)
        torch.testing.assert_close(found.metric()[name], 1 / (found.values[name].sqrt() + 1e-8))


def test_it_is_of_the_student_itself_or_there_is_none(tmp_path: Path, source: Path) -> None:
    student = tiny("qwen3", 0).model
    for elsewhere in ("lab:student", str(tmp_path / "nowhere" / "model"), str(tmp_path)):
        assert (
            of_checkpoint(elsewhere, student, names_of(student)) == "the student is no distillation's, with its last checkpoint beside it"
        )
    trained(tmp_path / "sgd", source)
    assert found_in(tmp_path / "sgd") == "checkpoint-3 is of an optimiser other than Adam"
    made = trained(tmp_path / "run", source, **ADAM)
    with torch.no_grad():
        made.data.student.model.lm_head.weight[0, 0] += 1
    made.save_model(str(tmp_path / "run" / "model"))
    assert found_in(tmp_path / "run") == "checkpoint-3 holds another model than the student"
    state = tmp_path / "run" / "training" / "checkpoint-3" / "optimizer.pt"
    state.write_bytes(state.read_bytes()[:-7])
    assert found_in(tmp_path / "run") == "checkpoint-3 is damaged: optimizer.pt is not as it was written"
    shutil.rmtree(tmp_path / "run" / "model")
    assert found_in(tmp_path / "run") == "checkpoint-3 is damaged: optimizer.pt is not as it was written"


def test_of_mini_batches_it_is_what_their_mean_and_spread_make_it(tmp_path: Path, source: Path) -> None:
    student, teacher = tiny("qwen3", 0), tiny("llama", 1)
    problems = load_problems(str(source))[:3]
    pairs = [(problem, Reference(problem.id, [5 + number, 9, 1], "teacher", 1, 1)) for number, problem in enumerate(problems)]
    pools = [(3.0, pairs[:2]), (1.0, pairs[2:])]
    chances = [0.375, 0.375, 0.25]

    def config(seed: int) -> ProbeConfig:
        return ProbeConfig(student="lab:student", seed=seed, divergence="cross_entropy", teacher_prompt="plain", device="cpu")

    def gradient(number: int) -> torch.Tensor:
        problem, reference = pairs[number]
        prompt = prompt_ids(student.tokenizer, problem)
        log_p = student.model(torch.tensor([prompt + reference.token_ids])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        loss = -log_p.gather(-1, torch.tensor(reference.token_ids)[:, None]).mean()
        return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(student.model.parameters()))])

    gradients = torch.stack([gradient(number) for number in range(3)])
    mean = sum(chance * row for chance, row in zip(chances, gradients, strict=True))
    second = sum(chance * row.square() for chance, row in zip(chances, gradients, strict=True))
    expected = mean.square() + (second - mean.square()) / SIZE
    found = []
    for seed in range(12):
        moment = second_moment(config(seed), pools, student, teacher, tmp_path / str(seed))
        assert moment.eps == EPS and moment.origin["from"] == "mini-batches" and "no distillation" in moment.origin["why"]
        found.append(torch.cat([moment.values[name].flatten() for name, _ in student.model.named_parameters()]))
    drawn = torch.stack(found)
    assert not torch.equal(drawn[0], drawn[1])
    # At the coordinates that count: the mean of 12 runs within five of its standard errors, where 192 mini-batches made it.
    off = (drawn.mean(0) - expected).abs() / (drawn.std(0) / 12**0.5 + 1e-9 * expected.max())
    assert float((off[expected > 1e-3 * expected.max()] < 5).double().mean()) > 0.98
    again = second_moment(config(0), pools, student, teacher, tmp_path / "0")
    assert all(torch.equal(again.values[name], values) for name, values in load_file(tmp_path / "0" / "second_moment.safetensors").items())
