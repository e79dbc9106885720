"""Chat templates are programs written by strangers. Each is tried under limits when its model is loaded, and watched when it is used.

The trial renders a short and a long user message in a child process with limits on CPU time, memory and length. It takes a second, mostly for
an import, and each process tries a template only once. It finds syntax errors, templates that raise or that jinja's sandbox stops, and unbounded
loops and strings. It cannot find what a template only does with particular contents. So every prompt is also rendered under a time limit, in this
process, and refused if the template raises or takes too long. The templates of the lab are ours and are not tried.
"""

import hashlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

from paced_exp.core.errors import UserError

WORKER = Path(__file__).with_name("template_worker.py")
MAX_TEMPLATE_CHARS = 200_000  # the longest of known models has under 20,000
MAX_EXTRA_CHARS = 100_000  # that a template may add to a message
CPU_SECONDS = 5
MEMORY_BYTES = 1 << 29
CLOCK_SECONDS = 120.0
# The second is long enough that two nested loops over its characters take minutes.
TRIALS = ("What is 1+1?", "What is 1+1?\nLet x = 3. " * 1_000)
PROMPT_SECONDS = 10.0
FIX = "take another model, or correct its chat_template.jinja"
#: SHA-256 of the templates of the lab's checkpoints and adapters; the lab imports this module, so their text cannot be taken from there.
OURS = frozenset(
    {
        "c87f201c0f05e8b622af6e9398ab95be89c46ad5ba622df5a13bb12be909bbc8",
        "f91864928fccff928b3068ca784db6275e655e400ccbb28f61d92c0090caf3b3",
    }
)


def check_template(template: str, special_tokens: Mapping[str, Any], spec: str) -> None:
    """Try `template` on `TRIALS`, unless it is one of `OURS`. Raises `UserError`, in one line, if it cannot be rendered within the limits."""
    if len(template) > MAX_TEMPLATE_CHARS:
        raise UserError(f"model {spec}: its chat template has {len(template)} characters, over {MAX_TEMPLATE_CHARS}; {FIX}")
    if hashlib.sha256(template.encode()).hexdigest() in OURS:
        return
    if problem := _trial(template, json.dumps(dict(special_tokens), default=str)):
        raise UserError(f"model {spec}: its chat template cannot be used ({problem}); {FIX}")


@cache
def _trial(template: str, special_tokens: str) -> str:
    """What is wrong with a template; empty if nothing is wrong."""
    request = json.dumps({"template": template, "special_tokens": json.loads(special_tokens), "texts": TRIALS})
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(WORKER), str(CPU_SECONDS), str(MEMORY_BYTES)],
            input=request.encode(),
            capture_output=True,
            timeout=CLOCK_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"it did not end within {CLOCK_SECONDS:.0f} s"
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"it takes over {CPU_SECONDS} s for a message of {len(TRIALS[1])} characters"
    if done.returncode:
        return f"rendering ended with status {done.returncode}: {done.stderr.decode(errors='replace')[-200:]}"
    reply = json.loads(done.stdout)
    if "error" in reply:
        return str(reply["error"])
    for text, length in zip(TRIALS, reply["lengths"], strict=True):
        if length > len(text) + MAX_EXTRA_CHARS:
            return f"it makes {length} characters of a message of {len(text)}"
    return ""


@contextmanager
def watched(whose: str) -> Iterator[None]:
    """Render a prompt in this block. Raises `UserError`, in one line, if the template raises or takes over `PROMPT_SECONDS` of CPU time.

    whose: the problem, as messages name it. The time is only limited in the main thread, which is where signals arrive.
    """
    limited = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGVTALRM) is signal.SIG_DFL

    def too_slow(_: int, __: FrameType | None) -> None:
        raise UserError(f"the chat template takes over {PROMPT_SECONDS:.0f} s for {whose}; {FIX}")

    if limited:
        signal.signal(signal.SIGVTALRM, too_slow)
        signal.setitimer(signal.ITIMER_VIRTUAL, PROMPT_SECONDS)
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # errors of jinja, and any error that an expression of the template raises
        raise UserError(f"the chat template cannot be rendered for {whose} ({type(error).__name__}: {error!s:.200}); {FIX}") from error
    finally:
        if limited:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
