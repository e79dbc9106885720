"""HTML of results in a notebook: a title, a line of numbers, tables and figures."""

import base64
import html
from collections.abc import Iterable, Sequence
from typing import Any


def page(title: str, line: str, *parts: str) -> str:
    """A result: `title` in bold, one `line` of text, and `parts`, which are HTML already."""
    return f"<div><b>{html.escape(title)}</b><br>{html.escape(line)}{''.join(parts)}</div>"


def table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """An HTML table of `rows` under `names`. Every value is escaped, since names of problems and sources come from the user."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(value))}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def image(figure: Any, text: str) -> str:
    """A matplotlib figure as an inline PNG, with `text` as its alternative text."""
    content = base64.b64encode(figure._repr_png_()).decode()
    return f'<img alt="{html.escape(text, quote=True)}" style="max-width: 100%" src="data:image/png;base64,{content}">'
