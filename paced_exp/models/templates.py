"""A model's chat template is a program of strangers: it is tried under limits when the model is loaded, and watched when it is used.

The trial renders a short and a long user message in a child process with limits of CPU time, memory and length, once a template and process
(a second, of which most is an import). It finds syntax errors, templates that raise or that the sandbox stops, loops and strings that grow
beyond reason. What a template does with some contents only, no trial can find: each prompt is rendered in this process with a limit on its
time, and one that raises or is too long is refused.
"""

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
# Long enough that a loop in a loop over its characters takes minutes.
TRIALS = ("What is 1+1?", "What is 1+1?\nLet x = 3. " * 1_000)
PROMPT_SECONDS = 10.0
FIX = "take another model, or mend its chat_template.jinja"


def check_template(template: str, special_tokens: Mapping[str, Any], spec: str) -> None:
    """Try `template` on `TRIALS`. Raises `UserError`, in one line, where it cannot be rendered within the limits."""
    if len(template) > MAX_TEMPLATE_CHARS:
        raise UserError(f"model {spec}: its chat template has {len(template)} characters, over {MAX_TEMPLATE_CHARS}; {FIX}")
    if problem := _trial(template, json.dumps(dict(special_tokens), default=str)):
        raise UserError(f"model {spec}: its chat template cannot be used ({problem}); {FIX}")


@cache
def _trial(template: str, special_tokens: str) -> str:
    """What is wrong with a template; empty where nothing is."""
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
    """Rendering a prompt: whatever the template raises, and over `PROMPT_SECONDS` of CPU time, becomes a `UserError` in one line.

    whose: of which problem, as the message says it. The time is limited in the main thread only, where signals arrive.
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
    except Exception as error:  # jinja's errors, and whatever an expression of the template raises
        raise UserError(f"the chat template cannot be rendered for {whose} ({type(error).__name__}: {error!s:.200}); {FIX}") from error
    finally:
        if limited:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
