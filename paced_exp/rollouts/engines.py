"""The choice of a rollout engine by name: `hf` (transformers, the default, no extra install) or `vllm`."""

from dataclasses import replace
from typing import Any

import torch
from transformers import AutoConfig

from paced_exp.models.loading import DTYPES, LoadedModel, load_model
from paced_exp.rollouts.engine import RolloutEngine
from paced_exp.rollouts.hf import HFEngine
from paced_exp.rollouts.options import BatchedEngineOptions, EngineOptions
from paced_exp.rollouts.vllm import VLLMEngine
from paced_exp.rollouts.vllm_install import check_device, installed_vllm


class Engines:
    """The engines of one run. Raises `UserError` for vllm that is not installed, or of an unsupported version or device."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._live: dict[int, VLLMEngine] = {}
        self._device = check_device(installed_vllm(), options.device) if options.engine == "vllm" else options.device

    def load(self, spec: str) -> LoadedModel:
        """`load_model` for a model that is only sampled from. With vllm its weights are dropped after the checks."""
        dtype = self._options.dtype
        if self._options.engine == "hf":
            return load_model(spec, device=self._device, dtype=dtype)
        place = torch.device(self._device)
        loaded = load_model(spec, device="cpu", dtype="bfloat16")
        if dtype != "auto":
            chosen = DTYPES[dtype]
        elif place.type == "cpu":
            chosen = torch.float32
        else:
            stored: Any = AutoConfig.from_pretrained(loaded.model.name_or_path, trust_remote_code=False, local_files_only=True)
            chosen = stored.dtype or torch.bfloat16
        return replace(loaded, model=loaded.model.to("meta").to(chosen), device=place)

    def close(self) -> None:
        """Stop the engines of live models. They start again when they are needed."""
        for engine in self._live.values():
            engine.stop()

    def of(self, loaded: LoadedModel, *, live: bool = False) -> RolloutEngine:
        """An engine for `loaded` with its present weights. live: the model is in training, and its engine is kept for the whole run."""
        options = self._options
        if options.engine == "hf":
            return HFEngine(loaded, max_batch_tokens=options.max_batch_tokens if isinstance(options, BatchedEngineOptions) else None)
        if not live:
            return VLLMEngine(loaded, options.engine_options)
        if id(loaded) not in self._live:
            self._live[id(loaded)] = VLLMEngine(loaded, options.engine_options, live=True)
        engine = self._live[id(loaded)]
        engine.refresh()
        return engine
