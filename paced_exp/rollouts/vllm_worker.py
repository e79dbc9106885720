"""One vLLM engine in its own process. It is run by path, and reads commands and writes results as JSON lines.

The first line holds the arguments of vllm.LLM. After that, {"generate": ...} gives a line for each prompt as it finishes, and {"reload": FOLDER}
replaces the weights. In its own process, vLLM's threads, logging and memory do not affect the caller, nor does its death.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
from typing import Any


def main() -> None:
    """Serve commands from standard input until it is closed."""
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # vLLM logs to standard output, which only the replies may use
    commands: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(commands,), daemon=True).start()

    def reply(**message: Any) -> None:
        line = memoryview(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        while line:
            line = line[replies.write(line) :]

    try:
        began = time.perf_counter()
        llm = _start(commands.get())
        reply(ready={"context": llm.model_config.max_model_len, "seconds": time.perf_counter() - began})
        while True:
            command = commands.get()
            if "reload" in command:
                # The checkpoint's loader reads the new weights. Keys and values of the old ones are dropped.
                llm.collective_rpc("reload_weights", kwargs={"weights_path": command["reload"]})
                llm.reset_prefix_cache()
                reply(reloaded=True)
            else:
                _generate(llm, command["generate"], reply)
    except BaseException as error:
        reply(error=f"{type(error).__name__}: {error}")
        raise


def _listen(commands: "queue.Queue[dict[str, Any]]") -> None:
    for line in sys.stdin.buffer:
        commands.put(json.loads(line))
    # The caller has ended. vLLM's child processes (tensor parallelism) are in this process's group and end with it.
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _start(arguments: dict[str, Any]) -> Any:
    from vllm import LLM  # type: ignore[import-not-found]

    share = arguments.pop("share_of_free_memory", None)
    if share is not None:
        import torch

        # vLLM's option is a share of the total memory, whatever other processes use.
        free, total = torch.cuda.mem_get_info()
        arguments["gpu_memory_utilization"] = share * free / total
    return LLM(**arguments)


def _generate(llm: Any, request: dict[str, Any], reply: Any) -> None:
    """Generate and reply with each prompt as it finishes. `LLM.generate` would only return when all have finished."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind  # type: ignore[import-not-found]

    engine = llm.llm_engine
    for number, (token_ids, seed) in enumerate(request["prompts"]):
        sampling = SamplingParams(
            n=request["samples"],
            seed=seed,
            temperature=request["temperature"],
            max_tokens=request["max_new_tokens"],
            stop_token_ids=request["stop"],
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        engine.add_request(str(number), {"prompt_token_ids": token_ids}, sampling)
    while engine.has_unfinished_requests():
        for output in engine.step():
            if output.finished:
                responses = sorted(output.outputs, key=lambda response: response.index)
                reply(done=[int(output.request_id), [list(response.token_ids) for response in responses]])


if __name__ == "__main__":
    main()
