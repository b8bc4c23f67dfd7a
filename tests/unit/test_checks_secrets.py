"""References to secrets: what they accept, and that nothing of a secret shows in an error or a repr."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._secret_reference import (
    LARGEST_SECRET,
    SecretReference,
    parse_secret_reference,
)

CANARY = "canary-Pa55word"


def test_a_file_is_read_without_its_last_newline(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(f" {CANARY} \r\n")
    reference = parse_secret_reference(f"file:{path}")
    assert reference.resolve() == f" {CANARY} "
    assert CANARY not in repr(reference) and str(reference) == f"file:{path}"


def test_a_variable_is_read_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = parse_secret_reference("env:CODEBLUE_TEST_SECRET")
    with pytest.raises(BadInput, match="CODEBLUE_TEST_SECRET: the variable is not set"):
        reference.resolve()
    monkeypatch.setenv("CODEBLUE_TEST_SECRET", CANARY)
    assert reference.resolve() == CANARY


@pytest.mark.parametrize("text", [CANARY, "", "file:relative", "file:", "env:", "env:NOT-A-NAME", f"vault:{CANARY}"])
def test_what_is_no_reference_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(BadInput, match=r"checks\.deep\[0\]\.password_from: is no reference") as caught:
        parse_secret_reference(text, "checks.deep[0].password_from")
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff\xfe" + CANARY.encode(), "not UTF-8"),
        (CANARY.encode() + b"x" * LARGEST_SECRET, "larger than"),
    ],
)
def test_unusable_files_are_named_without_their_content(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match=words) as caught:
        SecretReference("file", str(path)).resolve()
    assert CANARY not in str(caught.value) and str(path) in str(caught.value)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInput, match="no such file"):
        SecretReference("file", str(tmp_path / "pipe")).resolve()
