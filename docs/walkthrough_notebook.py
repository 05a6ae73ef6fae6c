"""Execute docs/walkthrough.py and write docs/walkthrough.ipynb, with its outputs: make walkthrough

The notebook holds nothing that differs from machine to machine but the last digits of its numbers: no times, no paths,
no versions.
"""

import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def notebook_of(text: str) -> Any:
    """The notebook without outputs. The ids of its cells are their numbers, so that they stay the same."""
    import jupytext

    notebook = jupytext.reads(text, fmt="py:percent")
    notebook.metadata = about()
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells, 1):
        cell["id"], cell["metadata"] = f"cell-{number}", {}
    return notebook


def about() -> dict[str, Any]:
    return {"kernelspec": dict(KERNEL), "language_info": {"name": "python"}}


def executed(notebook: Any) -> Any:
    """The notebook with the outputs of its cells. Raises CellExecutionError if one fails."""
    from nbclient import NotebookClient

    client = NotebookClient(notebook, timeout=600, record_timing=False, resources={"metadata": {"path": str(FOLDER)}})
    client.execute()
    notebook.metadata = about()  # without the version of Python, which execution adds
    return notebook


def check_private(notebook: Any) -> None:
    """Raise AssertionError if an output is a warning, or names a place of this machine."""
    places = str(FOLDER.parent), tempfile.gettempdir()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            text = output.get("text", "")
            assert output.get("name") != "stderr" and not any(place in text for place in places), text


def main() -> None:
    import nbformat

    notebook = executed(notebook_of((FOLDER / "walkthrough.py").read_text(encoding="utf-8")))
    (FOLDER / "walkthrough.ipynb").write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    check_private(notebook)


if __name__ == "__main__":
    main()
