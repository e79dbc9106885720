"""Printed tables and figures as Markdown and as LaTeX (booktabs), by the templates beside this file.

pandas prints tables too, but neither its Markdown (padded) nor its LaTeX (bold, and symbols as commands) is what the pages hold.
"""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from paced_exp.reproduce.printed_table import PrintedTable, Value

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "±": r"$\pm$",
        "−": r"$-$",
        "–": "--",
        "→": r"$\rightarrow$",
        "α": r"$\alpha$",
        "β": r"$\beta$",
        "√": r"$\surd$",
        "×": r"$\times$",
        "≤": r"$\le$",
        "≥": r"$\ge$",
        "²": r"\textsuperscript{2}",
        "“": "``",
        "”": "''",
        "…": r"\dots{}",
        "½": r"\textonehalf{}",
        "∞": r"$\infty$",
        "ε": r"$\varepsilon$",
        "μ": r"$\mu$",
        "‖": r"$\|$",
        "⟨": r"$\langle$",
        "⟩": r"$\rangle$",
    }
)
_LETTERS = 0x180  # below it are the letters with accents, which LaTeX reads


def escape(text: str) -> str:
    """Text for LaTeX: what is special there is escaped, symbols become commands. Raises `ValueError` for a symbol that LaTeX would stop at."""
    escaped = text.translate(_LATEX)
    if unknown := [character for character in escaped if ord(character) >= _LETTERS]:
        raise ValueError(f"LaTeX has no {unknown[0]!r}; give it a command in {__name__}: {text!r:.80}")
    return escaped


def _piped(text: str) -> str:
    return text.replace("|", "\\|")


def _markdown_value(value: Value) -> str:
    return f"**{_piped(value.text)}**" if value.bold else _piped(value.text)


def _tex_value(value: Value) -> str:
    return rf"\textbf{{{escape(value.text)}}}" if value.bold else escape(value.text)


_TEMPLATES = Environment(
    loader=PackageLoader("paced_exp.reproduce"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.filters |= {
    "piped": _piped,
    "rule": {"text": "---", "number": "---:"}.__getitem__,
    "markdown_value": _markdown_value,
    "tex": escape,
    "tex_value": _tex_value,
}
# Braces are LaTeX's own.
_OF_LATEX = _TEMPLATES.overlay(block_start_string="<%", block_end_string="%>", variable_start_string="<<", variable_end_string=">>")


def filled(template: str, **values: Any) -> str:
    """A template of this package with its values."""
    return (_OF_LATEX if template.endswith(".tex") else _TEMPLATES).get_template(template).render(**values)


def markdown(table: PrintedTable) -> str:
    """A GitHub table with title and notes."""
    return filled("table.md", table=table)


def latex(table: PrintedTable) -> str:
    """A booktabs tabular that fits the text's width, or a longtable where columns have widths; with caption and label tab:NAME."""
    # "Table 1." is LaTeX's own to number; the table's number is that of the paper's table that it reproduces.
    return filled("table.tex", table=table, caption=" ".join([table.title.replace("Table ", "Grid ", 1) + ".", *table.notes]))
