"""Files of a machine as a stream of pieces into the store. Takes about 3 s."""

from __future__ import annotations

import base64
import os
import tarfile
import zlib
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._snapshot_pieces import read_piece
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_restore import restore_snapshot
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_stream import tar_stream
from test_snapshot_store import Keys, picture, random_tree


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


def without_links(tree: dict[bytes, tuple[object, ...]]) -> dict[bytes, tuple[object, ...]]:
    return {path: values[:-1] for path, values in tree.items()}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("piece_bytes", [1000, 300_000])
def test_a_tree_arrives_whole_whatever_the_size_of_the_pieces(
    keys: Keys, tmp_path: Path, seed: int, piece_bytes: int
) -> None:
    source = tmp_path / "source"
    random_tree(source, seed)
    largest = 0

    def fetch(cursor: str | None) -> dict[str, object]:
        nonlocal largest
        piece = read_piece(str(source), [], cursor, piece_bytes)
        largest = max(largest, len(piece.content))
        return piece.as_dict()

    with keys.init().begin("records", "on_demand") as writer:
        writer.add_tar(tar_stream(fetch), "data", prefix="app1")
        manifest = writer.commit()
    restore_snapshot(keys.reader(), manifest.snapshot_id, "data", tmp_path / "restored")
    assert without_links(picture(tmp_path / "restored" / "app1")) == without_links(picture(source))
    assert largest < piece_bytes + 4096


def test_chosen_paths_come_with_the_directories_that_lead_to_them(keys: Keys, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for path in ("a/b/c", "a/b/d", "a/e", "f", "g"):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(path)
    (source / "a").chmod(0o711)
    os.mkfifo(source / "pipe")
    wanted = ["a/b", "a/b/c", "f", "pipe"]
    with keys.init().begin("records", "on_demand") as writer:
        writer.add_tar(tar_stream(lambda cursor: read_piece(str(source), wanted, cursor, 1).as_dict()), "data")
        manifest = writer.commit()
    restore_snapshot(keys.reader(), manifest.snapshot_id, "data", tmp_path / "restored")
    found = sorted(str(path.relative_to(tmp_path / "restored")) for path in (tmp_path / "restored").rglob("*"))
    assert found == ["a", "a/b", "a/b/c", "a/b/d", "f"]
    assert (tmp_path / "restored" / "a").stat().st_mode & 0o777 == 0o711


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "log").write_bytes(b"1" * 10_000)
    first = read_piece(str(source), [], None, 5_000)
    (source / "log").write_bytes(b"2" * 9_000)
    with pytest.raises(CodeblueError, match="changed while it was read"):
        read_piece(str(source), [], first.cursor, 5_000)
    for arguments in (
        (str(source / "no"), [], None),
        (str(source), ["no"], None),
        (str(source), ["../x"], None),
        (str(source), [], "nonsense"),
        (str(source), [], '["../x", 0, 1, 1]'),
        (str(source), [], None, 100_000_000),
    ):
        with pytest.raises(BadInput):
            read_piece(*arguments)  # type: ignore[arg-type]
    good = first.as_dict()
    damaged = {**good, "content": base64.b64encode(zlib.compress(b"other")).decode()}
    with pytest.raises(CodeblueError, match="damaged"):
        tar_stream(lambda cursor: damaged).read()
    with pytest.raises(CodeblueError, match="twice"):
        tar_stream(lambda cursor: good).read()


def test_the_stream_is_a_tar_archive_for_anybody(tmp_path: Path) -> None:
    source = tmp_path / "source"
    random_tree(source, 3)
    with tarfile.open(
        fileobj=tar_stream(lambda cursor: read_piece(str(source), [], cursor).as_dict()), mode="r|"
    ) as tar:
        assert len(tar.getmembers()) == len(picture(source))
