"""Hostile chat templates. Each is refused in one line, and none of its code runs outside the sandbox."""

import time
from collections.abc import Callable
from pathlib import Path

from attack.harness import Attack
from paced_exp.core.errors import UserError
from paced_exp.data.problem import Problem
from paced_exp.data.prompts import prompt_ids
from paced_exp.models.templates import CPU_SECONDS, PROMPT_SECONDS, check_template

# Time for the child process's imports on a busy machine. Only a hang takes longer.
SLACK_SECONDS = 60

CONTENT = "{{ messages[0]['content'] }}"
ESCAPES = {
    "classes of a string": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals of a function": "{{ raise_exception.__globals__['json'] }}",
    "globals by format": "{{ '{0.__globals__[json]}'.format(raise_exception) }}",
    "builtins by a cycler": "{{ cycler.__init__.__globals__.os.popen('touch ran').read() }}",
    "builtins by the namespace": "{{ namespace.__init__.__globals__['__builtins__']['open']('ran', 'w') }}",
    "attr filter": "{{ (''|attr('__class__')).__base__ }}",
    "import by a name": "{{ __import__('os').system('touch ran') }}",
    "self": "{{ self.__init__.__globals__ }}" + CONTENT,
    "undefined's globals": "{{ nothing.__init__.__globals__['__builtins__'] }}",
    "a generator's frame": "{{ (messages|map('string')).gi_frame.f_globals['os'] }}",
    "a method with map": "{{ messages|map(attribute='__class__.__init__.__globals__')|list }}{{ 1/0 }}",
    "changing the message": "{% set _ = messages.append(1) %}",
}
FAULTS = {
    "syntax error": "{% for m in messages %}" + CONTENT,
    "unknown tag": "{% frobnicate %}",
    "unknown filter": "{{ messages|frobnicate }}",
    "include of a file": "{% include '/etc/passwd' %}",
    "import of a file": "{% import '/etc/passwd' as p %}",
    "extends a file": "{% extends '/etc/passwd' %}",
    "raise_exception": "{{ raise_exception('not today\\nsecond line') }}",
    "division by zero": "{{ 1/0 }}",
    "a type error": "{{ 1 + 'a' }}",
    "an undefined call": "{{ nothing() }}",
    "no such key": "{{ messages[7].content.x }}",
    "a control character and a surrogate": "{{ '\\ud800' }}{{ 1/0 }}\x00",
}
BOMBS = {
    "endless recursion": "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "nested 10,000 deep": "{% if 1 %}" * 10_000 + "{% endif %}" * 10_000,
    "brackets 20,000 deep": "{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}",
    "a million characters": "x" * 1_000_000,
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
    "nested loops without output": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a loop in a loop over the message": "{% for a in messages[0].content %}{% for b in messages[0].content %}{% endfor %}{% endfor %}",
    "3 GB string, folded": "{{ 'a' * 3000000000 }}",
    "3 GB string, at run time": "{{ messages[0].content * 300000000 }}",
    "padding": "{{ messages[0].content.ljust(3000000000) }}",
    "format width": "{{ '%3000000000d' % 1 }}",
    "format width by method": "{{ '{:>3000000000}'.format(messages[0].content) }}",
    "doubling": "{% set n = namespace(s='ab') %}{% for i in range(40) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}",
    "a power tower": "{{ 9 ** (9 ** (9 ** 9)) }}",
    "a large power": "{{ (messages[0].content|length + 10) ** 100000000 }}",
    "a megabyte": "{{ 'ab' * 1000000 }}",
    "a filter that grows": "{{ messages[0].content|indent(1000000000, true) }}",
    "a large list": "{{ ([1] * 1000000000)|length }}",
    "replace": "{{ messages[0].content.replace('', 'x' * 1000000) }}",
}


def refused(template: str) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        began = time.monotonic()
        try:
            check_template(template, {"eos_token": "</s>"}, f"evil in {folder}")
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 600, str(error)
            assert "chat template" in str(error)
        else:
            raise AssertionError("the template was accepted")
        assert time.monotonic() - began < 4 * CPU_SECONDS + SLACK_SECONDS
        assert not (Path("ran").exists() or (folder / "ran").exists()), "the template ran a command"

    return run


def refused_at_a_prompt(template: str) -> Callable[[Path], None]:
    """A template that was not checked at loading: it is refused at the first prompt."""

    def run(folder: Path) -> None:
        try:
            prompt_ids(_Tokenizer(template), Problem("bad", "trigger", "1", None, "s", "s", "exact"))
        except UserError as error:
            assert "problem 'bad'" in str(error) and "\n" not in str(error) and len(str(error)) < 600
        else:
            raise AssertionError("the template was rendered")
        assert not (Path("ran").exists() or (folder / "ran").exists()), "the template ran a command"

    return run


class _Tokenizer:
    """A tokenizer with a chat template only, which is rendered as in transformers."""

    def __init__(self, template: str) -> None:
        self.template = template

    def apply_chat_template(self, messages: list[dict[str, str]], **options: object) -> str:
        from transformers.utils.chat_template_utils import render_jinja_template

        options.pop("tokenize")
        (text,), _ = render_jinja_template(conversations=[messages], chat_template=self.template, **options)
        return str(text)

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [ord(character) for character in text]}


def stopped_at_a_prompt(template: str) -> Callable[[Path], None]:
    """A template that passes the check at loading and misbehaves for one problem's text."""

    def run(_: Path) -> None:
        check_template(template, {}, "two-faced")
        tokenizer = _Tokenizer(template)
        began = time.monotonic()
        assert prompt_ids(tokenizer, Problem("good", "good", "1", None, "s", "s", "exact")) == [ord(c) for c in "good"]
        try:
            prompt_ids(tokenizer, Problem("bad", "trigger", "1", None, "s", "s", "exact"))
        except UserError as error:
            assert "problem 'bad'" in str(error) and "\n" not in str(error)
        else:
            raise AssertionError("the prompt was rendered")
        assert time.monotonic() - began < 4 * PROMPT_SECONDS + SLACK_SECONDS

    return run


def _two_faced(face: str) -> str:
    return "{% if messages[0].content == 'trigger' %}" + face + "{% endif %}" + CONTENT


ATTACKS = [
    *(Attack("templates", f"at a prompt, {name}", refused_at_a_prompt(template)) for name, template in (ESCAPES | FAULTS).items()),
    *(Attack("templates", f"at loading, {name}", refused(template), slow=True) for name, template in (ESCAPES | FAULTS | BOMBS).items()),
    Attack("templates", "raises for one problem", stopped_at_a_prompt(_two_faced("{{ raise_exception('no\\nno') }}"))),
    Attack("templates", "grows for one problem", stopped_at_a_prompt(_two_faced("{{ 'ab' * 1000000 }}")), slow=True),
    Attack("templates", "loops for one problem", stopped_at_a_prompt(_two_faced(BOMBS["nested loops without output"])), slow=True),
]
