"""Sheets as Markdown and as LaTeX (booktabs)."""

from paced_exp.reproduce.grid_tables import Sheet, Value

_LATEX = {
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
}


def markdown(sheet: Sheet) -> str:
    """A GitHub table with title and notes."""
    lines = [f"### {sheet.title}", ""]
    lines.append("| " + " | ".join(_pipe(head) for head in sheet.head) + " |")
    lines.append("".join("|---" if sheet.is_text(column) else "|---:" for column in range(len(sheet.head))) + "|")
    for row in sheet.rows:
        lines.append("| " + " | ".join(f"**{_pipe(value.text)}**" if value.bold else _pipe(value.text) for value in row) + " |")
    for note in sheet.notes:
        lines += ["", note]
    return "\n".join(lines) + "\n"


def latex(sheet: Sheet) -> str:
    """A booktabs tabular that fits the text's width, with caption and label tab:NAME."""
    columns = "l" + "r" * (len(sheet.head) - 1)
    lines = [
        r"\begin{table}[htbp]",
        r"\centering\footnotesize",
        rf"\caption{{{escape(_caption(sheet))}}}\label{{tab:{sheet.name}}}",
        r"\begin{adjustbox}{max width=\textwidth}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(escape(head) for head in sheet.head) + r" \\",
        r"\midrule",
    ]
    lines += [" & ".join(_latex_cell(value) for value in row) + r" \\" for row in sheet.rows]
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{adjustbox}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def latex_prose(sheet: Sheet, widths: tuple[float, ...]) -> str:
    """A booktabs longtable, which may break over pages. widths: of the columns, in shares of the text's width."""
    columns = "".join(rf">{{\raggedright\arraybackslash}}p{{{width}\textwidth}}" for width in widths)
    head = " & ".join(escape(name) for name in sheet.head) + r" \\"
    lines = [
        r"{\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\begin{{longtable}}{{{columns}}}",
        rf"\caption{{{escape(_caption(sheet))}}}\label{{tab:{sheet.name}}}\\",
        r"\toprule",
        head,
        r"\midrule\endfirsthead",
        r"\toprule",
        head,
        r"\midrule\endhead",
        r"\bottomrule\endfoot",
    ]
    lines += [" & ".join(_latex_cell(value) for value in row) + r" \\" for row in sheet.rows]
    return "\n".join([*lines, r"\end{longtable}}"]) + "\n"


def escape(text: str) -> str:
    """Text for LaTeX: what is special there is escaped, symbols become commands."""
    return "".join(_LATEX.get(character, character) for character in text)


def _caption(sheet: Sheet) -> str:
    # "Table 1." is LaTeX's own to number; the sheet's number is the paper's table that it reproduces.
    return " ".join([sheet.title.replace("Table ", "Grid ", 1) + ".", *sheet.notes])


def _latex_cell(value: Value) -> str:
    return rf"\textbf{{{escape(value.text)}}}" if value.bold else escape(value.text)


def _pipe(text: str) -> str:
    return text.replace("|", "\\|")
