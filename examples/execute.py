"""Run examples/door.ipynb in a kernel and keep it with its outputs, as `make notebook` does.

Progress bars and folders of temporary files are left out: they are of the machine that ran it. The kernel works in an empty folder, so that a run leaves nothing here.
"""

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "examples" / "door.ipynb"
LIMIT = 500  # seconds for one cell


def executed(notebook: Any, folder: str, **variables: str) -> Any:
    """The notebook with the outputs of its cells. folder: in which the kernel works. variables: further ones of its environment."""
    found = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    client = NotebookClient(notebook, timeout=LIMIT, kernel_name="python3", resources={"metadata": {"path": folder}})
    client.execute(env=os.environ | {"PYTHONPATH": found, **variables})
    return notebook


def kept(notebook: Any) -> Any:
    """The notebook without progress bars and without times of cells."""
    for cell in notebook.cells:
        cell.metadata = nbformat.NotebookNode()
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata.pop("widgets", None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    return notebook


def without_folders(text: str) -> str:
    """The notebook's text with TEMPORARY in place of the folders that a run without `out` makes."""
    return re.sub(re.escape(tempfile.gettempdir()) + r"/paced-\w+/([a-z]+)-\w+/", r"TEMPORARY/\1/", text)


def main() -> None:
    """Run it and write it back."""
    with tempfile.TemporaryDirectory() as folder:
        notebook = kept(executed(nbformat.read(NOTEBOOK, as_version=4), folder))
    partial = NOTEBOOK.with_suffix(".partial")
    partial.write_text(without_folders(nbformat.writes(notebook)) + "\n", encoding="utf-8")
    os.replace(partial, NOTEBOOK)


if __name__ == "__main__":
    main()
