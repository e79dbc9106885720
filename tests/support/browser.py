"""Pages in headless Chromium, where it is installed: what a script sees in them, at a window's width, in light or dark."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NO_CHROMIUM = "chromium is not installed (Debian's package chromium)"


def seen_in(page: Path, script: str, folder: Path, *, width: int = 1280, dark: bool = False) -> Any:
    """What `script`, the body of an asynchronous function, returns in `page` once it is loaded, as JSON.

    folder: for a copy of the browser's profile. The page must log nothing: neither an error nor a warning. A window is never narrower than about
    500 pixels, so the page is shown in a frame of that width, which reports to the outer page; both lie beside `page`.
    """
    assert CHROMIUM is not None, NO_CHROMIUM
    report = (
        'const out = document.createElement("pre"); out.id = "seen"; out.textContent = JSON.stringify(found); document.body.append(out);'
    )
    ran = f'<script>addEventListener("load", async () => {{ const found = await (async () => {{ {script} }})(); {report} }});</script>'
    probed, outer = page.with_name(f"{page.stem}-probed.html"), page.with_name(f"{page.stem}-outer.html")
    probed.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{ran}</body>"), encoding="utf-8")
    outer.write_text(
        f'<!doctype html><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        f'<iframe id="f" src="{probed.name}" style="width:{width}px;height:800px;border:0"></iframe><script>'
        'const timer = setInterval(() => { const seen = f.contentDocument.getElementById("seen");'
        "if (seen) { clearInterval(timer); document.body.append(seen.cloneNode(true)); } }, 50);</script>",
        encoding="utf-8",
    )
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--allow-file-access-from-files",
        f"--user-data-dir={folder}",
        f"--window-size={width + 100},900",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        "--virtual-time-budget=15000",
        "--enable-logging=stderr",
        "--dump-dom",
        outer.as_uri(),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    finally:
        probed.unlink()
        outer.unlink()
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not console, console
    return json.loads(re.findall(r'<pre id="seen">(.*?)</pre>', done.stdout, re.S)[-1].replace("&quot;", '"').replace("&amp;", "&"))
