"""Links from the pages of docs/ to the rest of the repository, for the site that `make docs` builds.

A link such as `../paced_exp/weights.py` works on GitHub as it is. A site holds docs/ alone, so every file that a page links to is added to it under
repository/: Markdown, notebooks and code as pages, anything else as it is. A folder becomes a page that lists its files. The site therefore needs
neither an address of the repository nor a network, and shows the same version of the code as of the pages.
"""

import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
DOCS, COPIES = "docs", "repository"
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")
FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})(\w*).*$")
LANGUAGES = {".py": "python", ".toml": "toml", ".cff": "yaml", ".yml": "yaml", ".sh": "bash", ".tex": "latex"}


def on_files(files: Files, config: Any) -> Files:
    """Add what the pages link to, and what those copies link to in turn, where they are Markdown."""
    waiting = [f"{DOCS}/{file.src_uri}" for file in files.documentation_pages()]
    while waiting:
        origin = waiting.pop()
        text = markdown_of(origin)
        for target in outside_targets(text, origin):
            if files.get_file_from_path(copy_of(target)) is None:
                files.append(copied(target, config))
                if target.endswith(".md"):
                    waiting.append(target)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """The page with its links to other files of the repository led to their copies, which a search in the site leaves out."""
    if page.file.src_uri.startswith(f"{COPIES}/"):
        page.meta["search"] = {"exclude": True}
    return rewritten(markdown, origin_of(page.file.src_uri))


# ---- names


def origin_of(uri: str) -> str:
    """The file of the repository that a page of the site is made of."""
    if not uri.startswith(f"{COPIES}/"):
        return f"{DOCS}/{uri}"
    path = uri.removeprefix(f"{COPIES}/")
    return path if (ROOT / path).exists() else path.removesuffix(".md").removesuffix("/index")


def copy_of(path: str) -> str:
    """The place in the site of a file or folder of the repository, as mkdocs names sources: pages end in .md."""
    if path == DOCS or path.startswith(f"{DOCS}/"):
        return path.removeprefix(f"{DOCS}/")
    if (ROOT / path).is_dir():
        return f"{COPIES}/{path}/index.md"
    return f"{COPIES}/{path}{'.md' if shown_as_page(path) and not path.endswith('.md') else ''}"


def shown_as_page(path: str) -> bool:
    """Whether a file is shown as a page with highlighted text. Figures, records and other data are files."""
    return Path(path).suffix in (".md", ".ipynb", *LANGUAGES) or Path(path).suffix == ""


# ---- links


def outside_targets(text: str, origin: str) -> Iterator[str]:
    """The files and folders outside docs/ that the text of `origin` links to. Links to nothing are left for mkdocs to complain about."""
    for line, prose in lines_of(text):
        for match in LINK.finditer(line) if prose else ():
            path = resolved(match[1], origin)
            if path is not None and not path.startswith(f"{DOCS}/"):
                yield path


def rewritten(text: str, origin: str) -> str:
    """`text` with its relative links led to where their targets lie in the site, and fences named by their language alone."""
    here = posixpath.dirname(copy_of(origin))

    def led(match: re.Match[str]) -> str:
        path = resolved(match[1], origin)
        return match[0] if path is None else posixpath.relpath(copy_of(path), here or ".") + (match[2] or "")

    found = []
    for line, prose in lines_of(text):
        opened = FENCE.match(line)
        found.append(LINK.sub(led, line) if prose else f"{opened[1]}{opened[2]}" if opened else line)
    return "\n".join(found)


def resolved(link: str, origin: str) -> str | None:
    """The path in the repository that a link of `origin` leads to; None where there is nothing."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), link))
    return path if not path.startswith("..") and (ROOT / path).exists() else None


def lines_of(text: str) -> Iterator[tuple[str, bool]]:
    """Every line, and whether it is prose, not part of a fenced block."""
    closing = None
    for line in text.split("\n"):
        fence = FENCE.match(line)
        if closing is None and fence:
            closing = fence[1]
            yield line, False
        else:
            yield line, closing is None
            if closing is not None and line.strip() == closing:
                closing = None


# ---- copies


def copied(path: str, config: Any) -> File:
    """The site's file for a file or folder of the repository."""
    if (ROOT / path).is_dir() or shown_as_page(path):
        return File.generated(config, copy_of(path), content=markdown_of(path))
    return File.generated(config, copy_of(path), abs_src_path=str(ROOT / path))


def markdown_of(path: str) -> str:
    """A file or folder of the repository as Markdown. Folders list their names; notebooks are shown without outputs, which are not kept."""
    file = ROOT / path
    if file.is_dir():
        names = sorted(entry.name + "/" * entry.is_dir() for entry in file.iterdir() if not entry.name.startswith(("_", ".")))
        return f"# {path}\n\nA folder of the repository:\n\n" + "".join(f"- `{name}`\n" for name in names)
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        return text
    if file.suffix == ".ipynb":
        cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
        return "\n\n".join(source if kind == "markdown" else fenced(source, "python") for kind, source in cells)
    return f"# {path}\n\n{fenced(text, LANGUAGES.get(file.suffix, 'text'))}"


def fenced(text: str, language: str) -> str:
    """`text` as a block of code, fenced by more backticks than it holds."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall(r"`+", text)), 3)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
