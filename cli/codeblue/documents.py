"""Makes the documents of the runbooks from their cards and plays: `python -m codeblue.documents [--check]`.

What people read is made from what runs, so it cannot say something else.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

from codeblue.runbook_document import render


def documents(root: Path) -> dict[Path, str]:
    """Path and text of every document of a collection."""
    return {
        card_path.parent / "README.md": render(card_path, root / "playbooks" / f"{card_path.parent.name}.yml")
        for card_path in sorted((root / "runbooks").glob("*/runbook.yml"))
    }


def differences(root: Path) -> list[str]:
    """Documents that are not what their card and play make, each as the first lines of a diff."""
    found = []
    for path, text in documents(root).items():
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        diff = list(difflib.unified_diff(before.splitlines(), text.splitlines(), str(path), "made anew", lineterm=""))
        if diff:
            found.append("\n".join(diff[:20]))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the documents, or with `--check` say which are not up to date.

    :returns: 0, or 1 when `--check` found one, or 2 for bad input.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    root = Path(__file__).resolve().parents[2]
    if given not in ([], ["--check"]):
        print("usage: python -m codeblue.documents [--check]", file=sys.stderr)
        return 2
    try:
        if given:
            stale = differences(root)
            print("\n".join(stale) or "all documents are up to date")
            return 1 if stale else 0
        for path, text in documents(root).items():
            path.write_text(text, encoding="utf-8")
            print(path)
    except CodeblueError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
