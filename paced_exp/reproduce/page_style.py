"""The page's frame: HTML, style and the script that sorts tables and opens the sources a number links to."""

STYLE = """
:root { color-scheme: light dark; --line: #8884; --faint: #8881; --link: light-dark(#0060a0, #7cc4ff); }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 75rem; padding: 0 1rem 4rem; }
h1 { margin: 1.5rem 0 0; } h2 { margin: 2.5rem 0 .5rem; border-bottom: 2px solid var(--line); } h3 { margin: 1.5rem 0 .5rem; }
a { color: var(--link); } nav a { margin-right: 1rem; display: inline-block; padding: .25rem 0; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; text-align: left; }
thead th { position: sticky; top: 0; background: Canvas; white-space: nowrap; }
thead button { font: inherit; font-weight: 600; background: none; border: 0; padding: .25rem 0; cursor: pointer; color: inherit; }
th[aria-sort=ascending] button::after { content: " \\25B2"; } th[aria-sort=descending] button::after { content: " \\25BC"; }
tbody th { font-weight: 400; } td.number, th.number { text-align: right; white-space: nowrap; } td.text { min-width: 12rem; }
.best { font-weight: 700; } .note, figcaption { color: GrayText; font-size: .875rem; max-width: 60rem; margin: .5rem 0; }
figure { margin: 1.5rem 0; } img { max-width: min(100%, 50rem); height: auto; background: white; } tbody tr:hover { background: var(--faint); }
details { font-size: .875rem; overflow-wrap: anywhere; } li:target { background: var(--faint); }
"""

SCRIPT = """
"use strict";
function key(row, column) {
  const cell = row.cells[column];
  return cell.dataset.number === undefined ? null : Number(cell.dataset.number);
}
function compare(column, sign) {
  return (a, b) => {
    const x = key(a, column), y = key(b, column);
    if (x !== null && y !== null) return sign * (x - y);
    if (x !== null || y !== null) return x === null ? 1 : -1;  // what has no number comes last, either way
    return sign * a.cells[column].textContent.localeCompare(b.cells[column].textContent, undefined, {numeric: true});
  };
}
for (const head of document.querySelectorAll("thead th")) {
  head.firstElementChild.addEventListener("click", () => {
    const table = head.closest("table"), body = table.tBodies[0];
    const down = head.getAttribute("aria-sort") === "descending" || (head.classList.contains("text") && !head.hasAttribute("aria-sort"));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "ascending" : "descending");
    body.append(...[...body.rows].sort(compare(head.cellIndex, down ? 1 : -1)));
  });
}
function reveal() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const details = target && target.closest("details");
  if (details) { details.open = true; target.scrollIntoView({block: "center"}); }
}
addEventListener("hashchange", reveal);
reveal();
"""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<p>Every measured number links to the records it is computed from and the command that makes them. Tables sort by a click on a column's head.</p>
<nav>{contents}</nav>
{body}
<script>{script}</script>
</body>
</html>
"""
