"""The page in headless Chromium: it loads without errors, sorts, fits a phone, and its links lead to records."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from paced_exp.reproduce import report
from paced_theory.claims import ledger, run
from tests.support.synthetic import write_base, write_row

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

# Runs inside the page: sorts a table by a column twice, follows a number to its sources, and writes what it saw where --dump-dom shows it.
PROBE = """
<script>
addEventListener("load", () => {
  const table = document.querySelector("#desk-distillation table"), heads = [...table.tHead.rows[0].cells];
  const column = heads.findIndex(head => head.textContent.startsWith("mean of tiers"));
  const read = () => [...table.tBodies[0].rows].map(row => row.cells[column].dataset.number ?? "none").join(",");
  const seen = {before: read()};
  heads[column].firstElementChild.click(); seen.first = read();
  heads[column].firstElementChild.click(); seen.second = read(); seen.aria = heads[column].getAttribute("aria-sort");
  const link = table.querySelector("td a"); link.click();
  seen.source = document.querySelector(link.getAttribute("href")).querySelector("a").getAttribute("href");
  seen.width = document.documentElement.scrollWidth; seen.window = innerWidth;
  setTimeout(() => {
    seen.open = document.querySelector(link.getAttribute("href")).closest("details").open;
    const out = document.createElement("pre"); out.id = "seen"; out.textContent = JSON.stringify(seen); document.body.append(out);
  }, 50);
});
</script>
"""


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


def test_claims_come_first(page: Path) -> None:
    assert re.findall(r"<h2[^>]*>([^<]+)", page.read_text())[0] == "Claims, desk scale"


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian's package chromium)")
@pytest.mark.parametrize("width", [1200, 390], ids=["desktop", "phone"])
def test_in_a_browser(page: Path, width: int, tmp_path: Path) -> None:
    import json

    probed = page.with_name("probed.html")
    probed.write_text(page.read_text().replace("</body>", PROBE + "</body>"))
    # A window is never narrower than about 500 pixels: a phone's width is that of a frame, whose page reports to the outer one.
    outer = page.with_name("outer.html")
    outer.write_text(
        f'<!doctype html><meta charset="utf-8"><iframe id="f" src="probed.html" style="width:{width}px;height:800px;border:0"></iframe><script>'
        'const timer = setInterval(() => { const seen = f.contentDocument.getElementById("seen");'
        "if (seen) { clearInterval(timer); document.body.append(seen.cloneNode(true)); } }, 50);</script>"
    )
    assert CHROMIUM is not None
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--allow-file-access-from-files",
        f"--user-data-dir={tmp_path}",
        "--window-size=1300,900",
        "--virtual-time-budget=15000",
        "--enable-logging=stderr",
        "--dump-dom",
        outer.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not console, console
    seen = json.loads(re.findall(r'<pre id="seen">(.*?)</pre>', done.stdout)[-1].replace("&quot;", '"'))
    numbers = [[float(text) for text in seen[order].split(",") if text != "none"] for order in ("before", "first", "second")]
    assert numbers[1] == sorted(numbers[0], reverse=True) != numbers[0] and numbers[2] == sorted(numbers[0])
    # What has no number comes last either way.
    assert seen["first"].endswith("none") and seen["second"].endswith("none") and seen["aria"] == "ascending"
    assert seen["open"] and (page.parent / seen["source"]).resolve().exists()
    assert seen["window"] == width and seen["width"] <= width
