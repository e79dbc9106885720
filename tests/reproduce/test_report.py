"""The page in headless Chromium: it opens with a summary, sorts, fits a phone, shows verdicts and whole figures, in the dark too; links lead to records."""

import html
import re
from pathlib import Path

import pytest

from paced_exp.reproduce import report
from paced_exp.reproduce.printed_table import PrintedTable, Value
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.report_parts import verdicts_first
from paced_exp.reproduce.scales import DESK
from paced_exp.reproduce.verdicts import outcomes
from paced_theory.claims import ledger, run
from tests.support.browser import CHROMIUM, NO_CHROMIUM, seen_in
from tests.support.synthetic import write_base, write_row


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    write_base(folder / "results", 0.3)
    for row, accuracy in (("uniform", 0.6), ("hard-filter", 0.4), ("paced", 0.8)):
        write_row(folder / "results", "distillation", row, accuracy, seeds=3)
    figures = folder / "figures"
    figures.mkdir()
    (figures / "figure1.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="900" height="20"><rect width="900" height="20"/></svg>'
    )
    (figures / "figure1.txt").write_text("A caption with <angles> & more.\n")
    out = folder / "docs" / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        theory = [run(claim) for claim in ledger()[:3]]
        patch.setattr(report, "theory_outcomes", lambda: theory)
        report.main(["--results", str(folder / "results"), "--figures", str(figures), "--out", str(out)])
    return out


def test_it_is_one_file_that_loads_nothing(page: Path) -> None:
    text = page.read_text()
    outside = [link for link in re.findall(r'(?:src|href)="([^"]+)"', text) if not link.startswith(("data:", "#", "../results/"))]
    assert not outside and "@import" not in text and "url(" not in text and "&lt;angles&gt; &amp; more" in text


def test_every_record_link_leads_to_a_record_and_every_number_to_its_sources(page: Path) -> None:
    text = page.read_text()
    links = set(re.findall(r'href="(\.\./results/[^"]+)"', text))
    assert len(links) == 10 and all((page.parent / link).resolve().exists() for link in links)
    anchors = re.findall(r'id="([^"]+)"', text)
    assert len(set(anchors)) == len(anchors)
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(anchors)
    for cell in re.findall(r"<td[^>]*data-number[^>]*>.*?</td>", text):
        if "seeds" not in cell and "desk-v1-distillation" in cell:
            assert 'title="python -m paced_exp.reproduce' in cell


def test_a_summary_comes_first_and_says_how_every_claim_is_decided(page: Path) -> None:
    text = page.read_text()
    assert re.findall(r"<h2[^>]*>([^<]+)", text)[:2] == ["Summary", "Claims, desk scale"]
    summary = text.split('<h2 id="summary">')[1].split("<h2")[0]
    judged = [outcome for outcome in outcomes(Results(page.parents[1] / "results"), DESK) if outcome.primary]
    assert (
        f"Of {len(judged)} claims about trainings and gradients: {len(judged)} not decided." in summary
    )  # these records are of the first protocol
    assert all(f"{outcome.claim.id}: {html.escape(outcome.claim.short)}" in summary for outcome in judged)
    assert "Of 3 statements of the theory: 3 hold." in summary and "<li>The runs that would tell are not done yet.</li>" in summary


def test_verdicts_stand_beside_what_they_are_of() -> None:
    rows = ((Value("C1"), Value("0.1"), Value("holds"), Value("1"), Value("replicates")),)
    table = PrintedTable("t", "T", ("claim", "measured", "verdict, corrected", "n", "by the interval alone"), rows, widths=(1, 2, 3, 4, 5))
    moved = verdicts_first(table)
    assert moved.head == ("claim", "verdict, corrected", "by the interval alone", "measured", "n") and moved.widths == (1, 3, 5, 2, 4)
    assert [value.text for value in moved.rows[0]] == ["C1", "holds", "replicates", "0.1", "1"]
    plain = PrintedTable("t", "T", ("method", "mid, %"), ((Value("a"), Value("1")),))
    assert verdicts_first(plain) == plain


SORTS_AND_LINKS = """
  const table = document.querySelector("#desk-v1-distillation table"), heads = [...table.tHead.rows[0].cells];
  const column = heads.findIndex(head => head.textContent.startsWith("mean of tiers"));
  const read = () => [...table.tBodies[0].rows].map(row => row.cells[column].dataset.number ?? "none").join(",");
  const seen = {before: read()};
  heads[column].firstElementChild.click(); seen.first = read();
  heads[column].firstElementChild.click(); seen.second = read(); seen.aria = heads[column].getAttribute("aria-sort");
  const link = table.querySelector("td a"); link.click();
  seen.source = document.querySelector(link.getAttribute("href")).querySelector("a").getAttribute("href");
  seen.width = document.documentElement.scrollWidth; seen.window = innerWidth;
  await new Promise(done => setTimeout(done, 50));
  seen.open = document.querySelector(link.getAttribute("href")).closest("details").open;
  return seen;
"""


@pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
@pytest.mark.parametrize("width", [1200, 390], ids=["desktop", "phone"])
def test_in_a_browser(page: Path, width: int, tmp_path: Path) -> None:
    seen = seen_in(page, SORTS_AND_LINKS, tmp_path, width=width)
    numbers = [[float(text) for text in seen[order].split(",") if text != "none"] for order in ("before", "first", "second")]
    assert numbers[1] == sorted(numbers[0], reverse=True) != numbers[0] and numbers[2] == sorted(numbers[0])
    # What has no number comes last either way.
    assert seen["first"].endswith("none") and seen["second"].endswith("none") and seen["aria"] == "ascending"
    assert seen["open"] and (page.parent / seen["source"]).resolve().exists()
    assert seen["window"] == width and seen["width"] <= width


LAID_OUT = """
  const verdicts = [...document.querySelectorAll("thead th")].filter(head => head.textContent.trim().startsWith("verdict"));
  const image = document.querySelector("figure img"), style = getComputedStyle(document.body);
  return {verdicts: verdicts.map(head => head.getBoundingClientRect().right), image: image.getBoundingClientRect().width, inner: innerWidth,
          room: document.querySelector("figure").getBoundingClientRect().width, ground: style.backgroundColor, ink: style.color,
          link: getComputedStyle(document.querySelector("nav a")).color, filter: getComputedStyle(image).filter};
"""


def brightness(color: str) -> float:
    """Relative luminance of `rgb(r, g, b)`, as WCAG defines it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_verdicts_and_whole_figures_are_seen_at_1280_pixels(page: Path, dark: bool, tmp_path: Path) -> None:
    seen = seen_in(page, LAID_OUT, tmp_path, width=1280, dark=dark)
    assert seen["inner"] == 1280 and len(seen["verdicts"]) > 5
    assert max(seen["verdicts"]) <= 1280  # without scrolling to the side
    assert seen["image"] == seen["room"] > 1000
    ground = brightness(seen["ground"])
    assert (ground < 0.05) if dark else (ground > 0.9)
    for color in (seen["ink"], seen["link"]):  # WCAG's AA for text
        light, low = max(ground, brightness(color)), min(ground, brightness(color))
        assert (light + 0.05) / (low + 0.05) >= 4.5
    assert ("invert" in seen["filter"]) is dark
