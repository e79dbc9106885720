"""The run that compresses a model: evaluate it as it is, then each compressed form, on the same problems; sizes on disk; accuracy kept."""

import os
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from paced_exp.core import config as configs
from paced_exp.core.checkpoints import written_whole
from paced_exp.core.run_folder import RunFolder, provenance
from paced_exp.evaluation.card_parts import write_card
from paced_exp.evaluation.compress_card import cards
from paced_exp.evaluation.compress_config import KIND, WHOLE, CompressConfig
from paced_exp.evaluation.config import EvaluateConfig
from paced_exp.evaluation.run import check_evaluation, evaluate
from paced_exp.models.compressed.methods import parse_method
from paced_exp.models.compressed.packed import compressible, packed, unpacked
from paced_exp.models.loading import LoadedModel, load_model

PACKED = "packed.safetensors"  # the compressed weights; the folder `model` beside it holds the same ones unpacked, for any loader


def compress(config: CompressConfig) -> dict[str, Any]:
    """Run or resume the compression and return its record. Raises `UserError` for anything that the user can fix."""
    run = RunFolder(config.out, config)
    record = run.recorded(KIND, lambda: _compress(config, run))
    for name, text in cards(record).items():
        write_card(method_folder(run.path, name) / "model", text)
    return record


def method_folder(run: Path, name: str) -> Path:
    """Where a method's weights and model lie in the run's folder."""
    return run / name.replace(":", "-").replace("+", "-")


def _compress(config: CompressConfig, run: RunFolder) -> dict[str, Any]:
    whole = _evaluation(config, config.model, run.path / WHOLE, None)
    check_evaluation(whole)
    loaded = load_model(config.model, device="cpu", dtype="float32")
    for name in config.names:
        packed(loaded.model, parse_method(name))  # a layer that does not suit a method is refused before anything is sampled
    run.open().claim({"model": loaded.fingerprint})
    evaluations = {WHOLE: evaluate(whole)}
    sizes = {WHOLE: 2 * sum(parameter.numel() for parameter in loaded.model.parameters())}
    for name in config.names:
        folder = method_folder(run.path, name)
        sizes[name] = write_compressed(loaded, name, folder)
        evaluations[name] = evaluate(_evaluation(config, str(folder / "model"), folder / "evaluation", str(run.path / WHOLE)))
    chosen = compressible(loaded.model)
    counts = {name: parameter.numel() for name, parameter in loaded.model.named_parameters()}
    return {
        "kind": KIND,
        "config": configs.as_dict(config),
        "parameters": {"all": sum(counts.values()), "compressed": sum(counts[name] for name in chosen)},
        "methods": [
            {
                "method": name,
                "bytes": sizes[name],
                "share": sizes[name] / sizes[WHOLE],
                "sources": evaluation["sources"],
                "against": evaluation["against"],
            }
            for name, evaluation in evaluations.items()
        ],
        "provenance": provenance(config.seed),
    }


def write_compressed(loaded: LoadedModel, name: str, folder: Path) -> int:
    """Write the packed weights, and a folder `model` with what is read back from them; bytes of the packed file. Nothing if both are there."""
    if not (folder / "model").is_dir():
        partial = folder / ".model"
        shutil.rmtree(partial, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        with written_whole(f"{folder / 'model'}", partial):
            save_file(packed(loaded.model, parse_method(name)), folder / PACKED)
            shapes = {each: parameter.shape for each, parameter in loaded.model.named_parameters()}
            weights = unpacked(load_file(folder / PACKED), shapes)
            before = {each: parameter.detach().clone() for each, parameter in loaded.model.named_parameters()}
            try:
                loaded.model.load_state_dict(weights, strict=False)  # tied parameters stand under their first name
                loaded.model.save_pretrained(partial)
                loaded.tokenizer.save_pretrained(partial)
            finally:
                loaded.model.load_state_dict(before, strict=False)
            os.replace(partial, folder / "model")
    return (folder / PACKED).stat().st_size


def _evaluation(config: CompressConfig, model: str, out: Path, against: str | None) -> EvaluateConfig:
    return EvaluateConfig(
        model=model,
        problems=config.evaluate,
        samples=config.samples,
        limit=config.evaluate_limit,
        against=against,
        retention=config.retention,
        temperature=config.temperature,
        max_new_tokens=config.max_new_tokens,
        engine=config.engine,
        engine_options=config.engine_options,
        device=config.device,
        dtype=config.dtype,
        seed=config.seed,
        out=str(out),
    )
