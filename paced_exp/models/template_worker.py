"""The child process that tries a model's chat template under limits. `templates` starts it by path; it is never imported.

It reads a JSON object (template, special_tokens, texts) from stdin and writes one to stdout: the `lengths` of the rendered texts, or an `error`.
The kernel limits CPU time and address space, beyond what the import of transformers has used.
"""

import json
import resource
import sys
from pathlib import Path
from typing import Any


def limit_process(cpu_seconds: int, memory_bytes: int) -> None:
    """Allow `cpu_seconds` and `memory_bytes` beyond the current use, and no core file."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = int(used.ru_utime + used.ru_stime) + 1 + cpu_seconds
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # macOS refuses RLIMIT_AS; there, only CPU time is limited.
    if sys.platform == "linux":
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (held + memory_bytes if hard < 0 else min(held + memory_bytes, hard), hard))


def main() -> None:
    """Render every text as a user message, in the same way as prompts are, and write the lengths."""
    from transformers.utils.chat_template_utils import render_jinja_template

    request = json.load(sys.stdin)
    limit_process(int(sys.argv[1]), int(sys.argv[2]))
    lengths = []
    try:
        for text in request["texts"]:
            rendered: Any = render_jinja_template(
                conversations=[[{"role": "user", "content": text}]],
                chat_template=request["template"],
                add_generation_prompt=True,
                enable_thinking=False,
                **request["special_tokens"],
            )
            lengths.append(len(rendered[0][0]))
        reply: dict[str, object] = {"lengths": lengths}
    except MemoryError:
        reply = {"error": "it needs too much memory"}
    except Exception as error:
        reply = {"error": f"{type(error).__name__}: {error}"[:300]}
    json.dump(reply, sys.stdout)


if __name__ == "__main__":
    main()
