"""What `chattr +a` gives a store, as docs/snapshots.md promises it. Needs root; takes about 2 s."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pyrage
import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store import ContentStore
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_verify import verify_snapshot

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can set file attributes")

ACCOUNT = pwd.getpwnam("nobody")


@pytest.fixture
def place() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="codeblue-append-", dir="/tmp"))
    yield path
    subprocess.run(["chattr", "-R", "-a", path], check=False, capture_output=True)
    shutil.rmtree(path)


def as_writer(work: Callable[[], object]) -> None:
    """Run something as an ordinary user. A fork rather than a program: root's Python may be out of their reach."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(ACCOUNT.pw_gid)
            os.setuid(ACCOUNT.pw_uid)
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - shown, and the status tells
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def take(store_path: Path, recipient: str, key: Path, source: Path) -> None:
    store = ContentStore.open(store_path, [recipient], naming_key_file=key)
    with store.begin("records", "scheduled") as writer:
        writer.add_tree(source, "configuration")
        writer.commit()


def destroy(files: Sequence[Path]) -> None:
    """Try everything that takes a file's name away from it."""
    for path, other in zip(files, (*files[1:], files[0]), strict=True):
        for attempt in (
            path.unlink,
            partial(path.rename, path.with_name("elsewhere")),
            partial(other.replace, path),
        ):
            with pytest.raises(PermissionError):
                attempt()


def test_the_writer_adds_and_cannot_remove(place: Path) -> None:
    identity = pyrage.x25519.Identity.generate()
    (place / "identity").write_text(str(identity))
    (place / "identity").chmod(0o600)
    recipient, key = str(identity.to_public()), place / "keys-of-writer" / "naming.key"
    # The forked writer may not reach root's Python: whatever is loaded late gets loaded here.
    ContentStore.init(place / "other", [recipient], naming_key_file=place / "warm.key")
    (place / "warm").mkdir()
    (place / "warm" / "conf").write_text("x")
    take(place / "other", recipient, place / "warm.key", place / "warm")
    ContentStore.init(place / "store", [recipient], append_only=True, naming_key_file=key)
    source = place / "source"
    source.mkdir()
    (source / "conf").write_text("one")
    key.parent.mkdir()
    for path in (place, *place.rglob("*")):
        if path.name != "identity":
            os.chown(path, ACCOUNT.pw_uid, ACCOUNT.pw_gid)
    guarded = [*(place / "store" / "objects").iterdir(), place / "store" / "snapshots", place / "store" / "keys"]
    if subprocess.run(["chattr", "+a", *guarded], check=False, capture_output=True).returncode:
        pytest.skip("this file system has no append-only attribute")
    as_writer(lambda: take(place / "store", recipient, key, source))
    (source / "conf").write_text("two")
    as_writer(lambda: take(place / "store", recipient, key, source))
    files = [path for directory in guarded for path in directory.iterdir()]
    assert len(files) >= 7
    as_writer(lambda: destroy(files))
    reader = ContentStore.open(place / "store", identity=place / "identity", naming_key_file=place / "other.key")
    manifests = reader.manifests()
    assert len(manifests) == 2
    assert all(verify_snapshot(reader, manifest.snapshot_id).ok for manifest in manifests)
