"""The documentation site is built without a warning, and its pages keep what they promise: code runs, commands parse, links lead somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import pages
from tests.support.pages import PAGES, ROOT, SITE_PAGES, name_of

LONGEST = 150  # lines of a page written by hand, to be read in one go
BY_HAND = (
    "index",
    "quickstart",
    "data-formats",
    "choices",
    "engines",
    "reproduce",
    "probe",
    "troubleshooting",
    "glossary",
    "developers",
    "api",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it, in a folder of the test's."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=500, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return out


# ---- the site


@pytest.mark.slow
def test_every_page_of_docs_is_in_the_site_and_in_its_menu(site: Path) -> None:
    menu = (site / "index.html").read_text(encoding="utf-8")
    for page in SITE_PAGES:
        name = page.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        assert (site / name).exists(), name
        assert f'href="{"." if name == "index.html" else name}"' in menu or name == "index.html", (
            f"{name} is missing from nav in mkdocs.yml"
        )


@pytest.mark.slow
def test_nothing_is_fetched_when_the_site_is_read(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"([^\"]+)\"", text)
        loaded += re.findall(r"<link\b(?=[^>]*rel=\"(?:stylesheet|icon|preload|preconnect|modulepreload)\")[^>]*\bhref=\"([^\"]+)\"", text)
        assert not [name for name in loaded if re.match(r"(?:\w+:)?//", name)], page
        assert 'class="mermaid"' not in text, f"{page}: material fetches mermaid from another site"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import )[\"']?(?:https?:)?//", sheet.read_text(encoding="utf-8")), sheet


@pytest.mark.slow
def test_links_of_the_site_lead_to_its_files(site: Path) -> None:
    """Those to the repository's other files too, of which the site holds copies."""
    wrong = []
    for page in site.rglob("*.html"):
        for link in re.findall(r"<a\b[^>]*\bhref=\"([^\"]+)\"", page.read_text(encoding="utf-8")):
            path = link.split("#")[0].split("?")[0]
            if path and not re.match(r"[a-z]+:|//|/", path) and not (page.parent / path).exists():
                wrong.append(f"{page.relative_to(site)}: {link}")
    assert wrong == []
    assert (site / "repository" / "paced_exp" / "losses" / "divergences.py.html").exists()
    assert list((site / "repository" / "results").rglob("record.json"))


@pytest.mark.slow
def test_code_and_figures_of_the_repository_are_shown(site: Path) -> None:
    code = (site / "repository" / "paced_exp" / "losses" / "divergences.py.html").read_text(encoding="utf-8")
    assert "total_variation" in code and 'class="highlight"' in code
    assert (site / "repository" / "figures" / "out" / "figure2_snr.png").read_bytes() == (
        ROOT / "figures" / "out" / "figure2_snr.png"
    ).read_bytes()


@pytest.mark.slow
def test_the_interface_is_documented_from_its_docstrings(site: Path) -> None:
    text = (site / "api.html").read_text(encoding="utf-8")
    for name in ("paced_exp.door.verbs.distill", "paced_exp.weighting.weights", "paced_theory.snr.estimate_snr"):
        assert f'id="{name}"' in text, name


# ---- the pages


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_anchors_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path, anchor in pages.links(text):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        if anchor and target.suffix == ".md":
            assert anchor in pages.anchors(target.read_text(encoding="utf-8")), f"{path}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_are_accepted_by_their_own_parsers(page: Path) -> None:
    refused = {command: said for command, whole in pages.commands(page) if (said := pages.refusal(command, whole))}
    assert refused == {}


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("python -m paced_exp.distill --methd uniform", "methd"),
        ("python -m paced_exp.distill --method unifrom", "unifrom is not known"),
        ("python -m paced_exp.lab card studnt", "studnt is not known"),
        ("python -m paced_theory.verify --every", "unrecognized arguments: --every"),
        ("paced weights --out weights.jsonl", "required: counts"),
        ("python -m bench.subjects", "would run"),
        ("python -m paced_exp.nothing", "no module"),
        ("paced train --steps 3", "no verb"),
    ],
)
def test_a_wrong_command_is_noticed(command: str, why: str) -> None:
    assert why in pages.refusal(command)


CODE = pages.blocks("python", SITE_PAGES)


@pytest.mark.parametrize("code", [text for _, text in CODE], ids=[name for name, _ in CODE])
def test_python_of_the_pages_runs_and_prints_what_it_says(code: str, tmp_path: Path) -> None:
    pages.check_python(code, tmp_path)


@pytest.mark.parametrize("page", SITE_PAGES, ids=name_of)
def test_a_list_stands_apart_from_the_text_before_it(page: Path) -> None:
    """GitHub shows it as a list either way; the site does not."""
    before = ""
    for line in pages.prose(page.read_text(encoding="utf-8")).split("\n"):
        item = re.match(r"(?:[-*+]|\d+\.) ", line)
        assert not (item and before and not re.match(r"\s|(?:[-*+]|\d+\.) |#", before)), line
        before = line


@pytest.mark.parametrize("name", BY_HAND)
def test_pages_by_hand_are_short(name: str) -> None:
    assert len((ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_messages_that_troubleshooting_quotes_are_the_code_s() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in [ROOT / "Makefile", *(ROOT / "paced_exp").rglob("*.py")])
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = [cell for row in re.findall(r"^\| (.*?) \|", page, re.M) for cell in re.findall(r"`([^`]+)`", row) if " " in cell]
    assert len(quoted) >= 8
    parts = [part.strip() for cell in quoted for part in cell.removeprefix("--out").split("...")]
    assert [part for part in parts if part not in code] == []


def test_the_glossary_explains_the_words_of_the_tables() -> None:
    terms = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    explained = {word.strip().lower() for row in re.findall(r"^\| (.*?) \|", terms, re.M) for word in row.split(",")}
    for word in (
        "akl",
        "tiers",
        "mean of tiers",
        "retention",
        "forgetting",
        "point",
        "snr",
        "plug-in",
        "empirical bayes",
        "one-pass",
        "multi-pass",
    ):
        assert word in explained, word
