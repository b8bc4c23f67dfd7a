"""The content store: what goes in comes out, whatever happens in between. Takes about 20 s."""

from __future__ import annotations

import hashlib
import io
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyrage
import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._snapshot_swap import SwapJournal, swap_in
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store import ContentStore
from ansible_collections.codeblue.recovery.plugins.plugin_utils._manifest import SnapshotManifest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._recipients import Identity, Recipients
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_copy import copy_snapshots
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_restore import (
    restore_in_place,
    restore_snapshot,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_retention import (
    RetentionPolicy,
    choose_kept,
    prune,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_verify import verify_snapshot

CHUNK = 64 * 1024
ROOT = os.geteuid() == 0


class Keys:
    """An age key pair, and a store that it belongs to."""

    def __init__(self, directory: Path) -> None:
        identity = pyrage.x25519.Identity.generate()
        self.recipient = str(identity.to_public())
        self.identity = directory / "identity.txt"
        self.identity.write_text(f"# created by a test\n{identity}\n")
        self.identity.chmod(0o600)
        self.naming_key = directory / "naming.key"
        self.store_path = directory / "store"

    def init(self, **options: object) -> ContentStore:
        return ContentStore.init(
            self.store_path,
            [self.recipient],
            chunk_bytes=CHUNK,
            naming_key_file=self.naming_key,
            **options,  # type: ignore[arg-type]
        )

    def writer(self) -> ContentStore:
        return ContentStore.open(self.store_path, [self.recipient], naming_key_file=self.naming_key)

    def reader(self) -> ContentStore:
        """As somebody who has the identity and the store, and nothing of the writer's."""
        return ContentStore.open(
            self.store_path, identity=self.identity, naming_key_file=self.store_path.parent / "reader.key"
        )


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


def take(store: ContentStore, root: Path, level: str = "configuration", **options: object) -> SnapshotManifest:
    with store.begin("records", "on_demand") as writer:
        writer.add_tree(root, level, **options)  # type: ignore[arg-type]
        return writer.commit()


def picture(root: Path) -> dict[bytes, tuple[object, ...]]:
    """All that a snapshot has to keep of a tree."""
    seen: dict[bytes, tuple[object, ...]] = {}
    links: dict[tuple[int, int], bytes] = {}
    for directory, names, files in os.walk(os.fsencode(root)):
        for name in sorted(names + files):
            path = os.path.join(directory, name)  # noqa: PTH118 - names as bytes
            status = os.lstat(path)
            content: object = None
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as stream:
                    content = hashlib.sha256(stream.read()).hexdigest()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)  # noqa: PTH115 - names as bytes
            relative = os.path.relpath(path, os.fsencode(root))
            inode = (status.st_dev, status.st_ino)
            first = links.setdefault(inode, relative) if stat.S_ISREG(status.st_mode) else relative
            seen[relative] = (
                stat.S_IFMT(status.st_mode),
                stat.S_IMODE(status.st_mode),
                status.st_uid,
                status.st_gid,
                status.st_mtime_ns,
                content,
                first,
            )
    return seen


def random_tree(root: Path, seed: int) -> None:
    """Directories, files of awkward sizes, links of both kinds, names that are hard to handle."""
    dice = random.Random(seed)
    names = [
        "plain",
        "with space",
        "new\nline",
        "ümläut",
        "日本",
        "-rf",
        "a" * 200,
        "quote'\"",
        "back\\slash",
        "*",
        "~",
    ]
    sizes = [0, 1, 100, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 5 * CHUNK + 17]
    directories, files = [root], []
    root.mkdir()
    for number in range(60):
        parent = dice.choice(directories)
        name = f"{dice.choice(names)}{number}" if dice.random() < 0.8 else os.fsdecode(b"latin\xe9%d" % number)
        path = parent / name
        kind = dice.random()
        if kind < 0.2:
            path.mkdir(mode=dice.choice([0o755, 0o700, 0o2750]))
            directories.append(path)
        elif kind < 0.3:
            path.symlink_to(dice.choice(["/etc/passwd", "nowhere", "../plain", "with\nline"]))
        elif kind < 0.4 and files:
            os.link(dice.choice(files), path)
        elif kind < 0.5:
            with path.open("wb") as stream:  # sparse: a hole of several pieces, then a little data
                stream.seek(7 * CHUNK)
                stream.write(b"end")
            files.append(path)
        else:
            path.write_bytes(dice.randbytes(dice.choice(sizes)))
            path.chmod(dice.choice([0o644, 0o600, 0o400, 0o755, 0o4755]))
            if ROOT:
                os.chown(path, dice.choice([0, 65534]), dice.choice([0, 65534]))
            os.utime(path, ns=(1, dice.randrange(10**18)))
            files.append(path)
    for directory in reversed(directories):
        os.utime(directory, ns=(1, dice.randrange(10**18)))


@pytest.mark.parametrize("seed", range(12))
def test_any_tree_comes_back_as_it_was(keys: Keys, tmp_path: Path, seed: int) -> None:
    source = tmp_path / "source"
    random_tree(source, seed)
    before = picture(source)
    manifest = take(keys.init(), source)
    reader = keys.reader()
    report = verify_snapshot(reader, manifest.snapshot_id, digest=manifest.digest)
    assert report.ok and report.depth == "content" and report.sealed, report.problems
    restore_snapshot(reader, manifest.snapshot_id, "configuration", tmp_path / "restored", digest=manifest.digest)
    assert picture(tmp_path / "restored") == before
    sparse = [path for path in (tmp_path / "restored").rglob("*") if path.is_file() and path.stat().st_size > 7 * CHUNK]
    assert all(path.stat().st_blocks * 512 < path.stat().st_size for path in sparse if path.read_bytes()[-3:] == b"end")
    assert not list(tmp_path.glob(".restored*"))


def test_equal_content_is_stored_once_without_an_identity(keys: Keys, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "one").write_bytes(random.Random(1).randbytes(4 * CHUNK))
    (source / "two").write_bytes((source / "one").read_bytes())
    first = take(keys.init(), source)
    assert first.size_bytes == 8 * CHUNK
    assert 4 * CHUNK < first.stored_bytes < 5 * CHUNK
    second = take(keys.writer(), source)
    # The list of files is encrypted anew only when it differs, which it does not.
    assert second.stored_bytes == 0
    assert first.objects == second.objects
    # Somebody without the writer's naming key stores once more, and both stay readable.
    keys.naming_key.unlink()
    third = take(keys.writer(), source)
    assert third.stored_bytes > 4 * CHUNK
    for manifest in (first, second, third):
        assert verify_snapshot(keys.reader(), manifest.snapshot_id).ok


def test_another_recipient_gets_everything_anew(keys: Keys, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "one").write_bytes(b"x" * 1000)
    take(keys.init(), source)
    other = Keys(tmp_path / "other" if (tmp_path / "other").mkdir() is None else tmp_path)
    store = ContentStore.open(keys.store_path, [keys.recipient, other.recipient], naming_key_file=keys.naming_key)
    manifest = take(store, source)
    for identity in (keys.identity, other.identity):
        reader = ContentStore.open(keys.store_path, identity=identity, naming_key_file=tmp_path / "none")
        assert verify_snapshot(reader, manifest.snapshot_id).ok


def test_the_store_shows_neither_names_nor_contents_nor_their_hashes(keys: Keys, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    secret = b"canary-7f3a9c" * 50
    (source / "canary-name").write_bytes(secret)
    take(keys.init(), source)
    digest = hashlib.sha256(secret).hexdigest()
    identity = keys.identity.read_text().splitlines()[1]
    for path in keys.store_path.rglob("*"):
        assert "canary" not in str(path) and digest not in str(path)
        if path.is_file():
            content = path.read_bytes()
            for needle in (b"canary", digest.encode(), bytes.fromhex(digest), identity.encode()):
                assert needle not in content, path


def all_files(store: Path) -> list[Path]:
    return sorted(path for name in ("objects", "snapshots") for path in (store / name).rglob("*") if path.is_file())


def test_any_flipped_byte_is_found_named_and_not_restored(keys: Keys, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(4):
        (source / f"file{number}").write_bytes(random.Random(number).randbytes(CHUNK + 100 * number))
    manifest = take(keys.init(), source)
    dice = random.Random(0)
    for path in all_files(keys.store_path):
        good = path.read_bytes()
        for _ in range(6):
            position = dice.randrange(len(good))
            bad = bytearray(good)
            bad[position] ^= 1 << dice.randrange(8)
            path.chmod(0o600)
            path.write_bytes(bad)
            for store in (keys.reader(), keys.writer()):
                report = verify_snapshot(store, manifest.snapshot_id, digest=manifest.digest)
                assert not report.ok, (path, position)
                assert any(path.name in str(problem) for problem in report.problems), report.problems
                with pytest.raises(CodeblueError, match=r"damaged|altered"):
                    report.raise_if_damaged()
            with pytest.raises(CodeblueError):
                restore_snapshot(keys.reader(), manifest.snapshot_id, "configuration", tmp_path / "restored")
            assert not (tmp_path / "restored").exists()
        path.write_bytes(good)
    assert verify_snapshot(keys.reader(), manifest.snapshot_id).ok


def test_the_damaged_file_is_named_and_heals_with_the_next_snapshot(keys: Keys, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "small").write_bytes(b"a" * 100)
    manifest = take(keys.init(), source)
    victim = next(
        path
        for path in all_files(keys.store_path)
        if path.parent.parent.name == "objects" and path.name not in manifest.tree
    )
    victim.chmod(0o600)
    with victim.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"\0\0")
    report = verify_snapshot(keys.reader(), manifest.snapshot_id, quarantine=True)
    assert "configuration:small" in [problem.where for problem in report.problems]
    assert (keys.store_path / "damaged" / victim.name).exists()
    take(keys.writer(), source)
    assert verify_snapshot(keys.reader(), manifest.snapshot_id).ok


def test_forged_objects_and_headers_are_found(keys: Keys, tmp_path: Path) -> None:
    """Everybody can encrypt to a public key: what is decrypted has to fit its keyed name."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "one").write_bytes(b"right")
    manifest = take(keys.init(), source)
    name = next(iter(manifest.objects - set(manifest.tree)))
    keys.writer().objects.write(name, b"wrong", Recipients.parse([keys.recipient]))
    assert verify_snapshot(keys.writer(), manifest.snapshot_id).ok  # the stored form is consistent in itself
    report = verify_snapshot(keys.reader(), manifest.snapshot_id)
    assert "another content than its name says" in str(report.problems)
    header = keys.store_path / "snapshots" / f"{manifest.snapshot_id}.json"
    header.chmod(0o600)
    header.write_bytes(header.read_bytes().replace(b'"service":"records"', b'"service":"recordz"'))
    with pytest.raises(CodeblueError, match="altered"):
        keys.reader().manifest(manifest.snapshot_id)


def test_parts_come_back_one_by_one(keys: Keys, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "app" / "deep").mkdir(parents=True)
    (source / "app" / "deep" / "conf").write_text("one")
    (source / "app" / "other").write_text("two")
    os.link(source / "app" / "other", source / "linked")
    store = keys.init()
    with store.begin("records", "pre_deployment") as writer:
        writer.add_tree(source, "configuration")
        writer.add_stream(io.BytesIO(b"model" * CHUNK), "data", "models/risk.bin")
        writer.describe_level("code", {"git_commit": "0" * 40})
        manifest = writer.commit()
    assert set(manifest.levels) == {"configuration", "data", "code"}
    assert manifest.levels["code"].facts == {"git_commit": "0" * 40}
    reader = keys.reader()
    restore_snapshot(reader, manifest.snapshot_id, "configuration", tmp_path / "r1", ["app/deep"])
    assert [str(path.relative_to(tmp_path / "r1")) for path in sorted((tmp_path / "r1").rglob("*"))] == [
        "app",
        "app/deep",
        "app/deep/conf",
    ]
    restore_snapshot(reader, manifest.snapshot_id, "configuration", tmp_path / "r2", ["linked"])
    assert (tmp_path / "r2" / "linked").read_text() == "two"
    restore_snapshot(reader, manifest.snapshot_id, "data", tmp_path / "r3")
    assert (tmp_path / "r3" / "models" / "risk.bin").read_bytes() == b"model" * CHUNK
    with pytest.raises(BadInput, match="is not in snapshot"):
        restore_snapshot(reader, manifest.snapshot_id, "configuration", tmp_path / "r4", ["nothing"])
    with pytest.raises(BadInput, match="has no level database"):
        restore_snapshot(reader, manifest.snapshot_id, "database", tmp_path / "r4")
    with pytest.raises(BadInput, match="is in use"):
        restore_snapshot(reader, manifest.snapshot_id, "data", tmp_path / "r3")
    with pytest.raises(BadInput, match="needs an identity"):
        restore_snapshot(keys.writer(), manifest.snapshot_id, "data", tmp_path / "r4")
    assert not (tmp_path / "r4").exists()


def test_in_place_all_or_none_and_undone(keys: Keys, tmp_path: Path) -> None:
    live = tmp_path / "live"
    (live / "conf.d").mkdir(parents=True)
    (live / "conf.d" / "a").write_text("old")
    (live / "main.conf").write_text("old")
    manifest = take(keys.init(), live)
    (live / "conf.d" / "a").write_text("new")
    (live / "conf.d" / "b").write_text("new")
    (live / "main.conf").unlink()
    current = picture(live)
    places = {"conf.d": live / "conf.d", "main.conf": live / "main.conf"}
    journal = restore_in_place(keys.reader(), manifest.snapshot_id, "configuration", places, tmp_path / "undo.json")
    assert (live / "conf.d" / "a").read_text() == "old" and not (live / "conf.d" / "b").exists()
    assert (live / "main.conf").read_text() == "old"
    SwapJournal.load(journal.path).undo()
    assert picture(live) == current
    restore_in_place(keys.reader(), manifest.snapshot_id, "configuration", places, tmp_path / "undo.json").forget()
    assert sorted(path.name for path in live.iterdir()) == ["conf.d", "main.conf"]
    assert (live / "conf.d" / "a").read_text() == "old"


def test_a_place_that_cannot_be_replaced_puts_the_others_back(tmp_path: Path) -> None:
    live = tmp_path / "live"
    live.mkdir()
    for name in ("one", "one.staged"):
        (live / name).write_text(name)
    (live / "staged").mkdir()
    before = picture(live)
    with pytest.raises(CodeblueError, match="cannot be replaced"):
        # The kernel exchanges no directory with one that lies in it; the first place was replaced by then.
        swap_in(
            str(tmp_path / "undo.json"),
            {str(live / "one"): str(live / "one.staged"), str(live): str(live / "staged")},
        )
    assert (live / "one").read_text() == "one"
    assert picture(live).keys() == before.keys() - {b"one.staged", b"staged"}
    assert not (tmp_path / "undo.json").exists()


def test_undo_recognizes_what_a_crash_left_undone(tmp_path: Path) -> None:
    for name in ("one", "one.staged", "two", "two.staged"):
        (tmp_path / name).write_text(name)
    places = {str(tmp_path / name): str(tmp_path / f"{name}.staged") for name in ("one", "two")}
    journal = swap_in(str(tmp_path / "undo.json"), places)
    assert (tmp_path / "two").read_text() == "two.staged"
    # As if the process had died between the two exchanges.
    (tmp_path / "two").rename(tmp_path / "x")
    (tmp_path / "two.staged").rename(tmp_path / "two")
    (tmp_path / "x").rename(tmp_path / "two.staged")
    SwapJournal.load(journal.path).undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
    assert [(tmp_path / name).read_text() for name in ("one", "two")] == ["one", "two"]


def test_a_tar_stream_of_a_machine(keys: Keys, tmp_path: Path) -> None:
    source = tmp_path / "source"
    random_tree(source, 99)
    before = picture(source)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(source, ".")
    archive.seek(0)
    store = keys.init()
    with store.begin("records", "scheduled") as writer:
        writer.add_tar(archive, "data")
        manifest = writer.commit()
    restore_snapshot(keys.reader(), manifest.snapshot_id, "data", tmp_path / "restored")
    after = picture(tmp_path / "restored")
    # PAX keeps times as decimal fractions, which Python reads as floats.
    shorten = lambda tree: {path: (*values[:4], values[4] // 10**9, *values[5:]) for path, values in tree.items()}  # type: ignore[operator] # noqa: E731
    assert shorten(after).keys() == shorten(before).keys()
    with store.begin("records", "scheduled") as writer, pytest.raises(CodeblueError, match="cannot be read"):
        writer.add_tar(io.BytesIO(archive.getvalue()[: 100 * 1024 + 77]), "data")
    evil = io.BytesIO()
    with tarfile.open(fileobj=evil, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../../etc/cron.d/x"))
    evil.seek(0)
    with store.begin("records", "scheduled") as writer, pytest.raises(CodeblueError, match="leads out"):
        writer.add_tar(evil, "data")
    assert len(store.manifests()) == 1


def test_writers_at_the_same_time(keys: Keys, tmp_path: Path) -> None:
    source = tmp_path / "source"
    random_tree(source, 5)
    keys.init()
    take(keys.writer(), source)  # makes the naming key
    made: list[SnapshotManifest] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            made.append(take(keys.writer(), source))
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and len(made) == 6
    assert all(verify_snapshot(keys.reader(), manifest.snapshot_id).ok for manifest in made)


WRITER = """
import sys
from pathlib import Path
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store import ContentStore
store = ContentStore.open(Path(sys.argv[1]), [sys.argv[2]], naming_key_file=Path(sys.argv[3]))
with store.begin("records", "on_demand") as writer:
    writer.add_tree(Path(sys.argv[4]), "data")
    print("adding done", flush=True)
    print(writer.commit().snapshot_id, flush=True)
"""


def test_killed_in_the_middle_the_store_stays_whole(keys: Keys, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(150):
        (source / f"f{number}").write_bytes(random.Random(number).randbytes(3 * CHUNK))
    keys.init()
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "x").write_text("x")
    good = take(keys.writer(), tmp_path / "small")
    arguments = [str(keys.store_path), keys.recipient, str(keys.naming_key), str(source)]
    for delay in (0.0, 0.05, 0.15, 0.3):
        process = subprocess.Popen([sys.executable, "-c", WRITER, *arguments], stdout=subprocess.PIPE)
        count = sum(1 for _ in (keys.store_path / "objects").rglob("*"))
        while process.poll() is None and sum(1 for _ in (keys.store_path / "objects").rglob("*")) == count:
            time.sleep(0.005)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for manifest in keys.reader().manifests():
            assert verify_snapshot(keys.reader(), manifest.snapshot_id).ok
    stored = sum(1 for _ in (keys.store_path / "objects").rglob("*"))
    manifest = take(keys.writer(), source, "data")
    assert verify_snapshot(keys.reader(), manifest.snapshot_id).ok
    assert manifest.stored_bytes < 450 * (CHUNK + 1000), "what the killed writers stored is used"
    assert stored > 10
    report = prune(
        keys.writer(), RetentionPolicy(1, 0), datetime.now(UTC) + timedelta(days=1), proven=[good.snapshot_id]
    )
    assert not list((keys.store_path / "tmp").iterdir())
    assert good.snapshot_id in report.kept
    assert verify_snapshot(keys.reader(), manifest.snapshot_id).ok


def _full_disk(keys: Keys, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "small").write_bytes(b"s" * 100)
    good = take(keys.writer(), source)
    (source / "large").write_bytes(random.Random(0).randbytes(200 * CHUNK))
    with pytest.raises(CodeblueError, match="no space left") as caught:
        take(keys.writer(), source)
    assert "\n" not in str(caught.value) and caught.value.hint
    assert not list((keys.store_path / "tmp").iterdir())
    assert [manifest.snapshot_id for manifest in keys.reader().manifests()] == [good.snapshot_id]
    assert all(keys.writer().objects.is_whole(name) for name in keys.writer().objects.names())
    assert verify_snapshot(keys.reader(), good.snapshot_id).ok


@pytest.mark.skipif(not ROOT, reason="mounting a small file system needs root")
def test_full_disk_says_so_and_leaves_no_half_object(keys: Keys, tmp_path: Path) -> None:
    keys.store_path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", keys.store_path], check=False).returncode:
        pytest.skip("this machine does not let a file system be mounted")
    try:
        keys.init()
        _full_disk(keys, tmp_path)
    finally:
        subprocess.run(["umount", keys.store_path], check=True)


def test_file_size_limit_says_so_and_leaves_no_half_object(keys: Keys, tmp_path: Path) -> None:
    keys.init()
    source = tmp_path / "source"
    source.mkdir()
    (source / "large").write_bytes(random.Random(0).randbytes(CHUNK))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (CHUNK // 2, before[1]))
    try:
        with pytest.raises(CodeblueError, match="no space left"):
            take(keys.writer(), source)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((keys.store_path / "tmp").iterdir())
    assert not keys.reader().manifests()


def _aged(manifest: SnapshotManifest, days: float, now: datetime) -> SnapshotManifest:
    created = (now - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return replace(manifest, created_at=created, snapshot_id=f"{manifest.snapshot_id[:-4]}{int(9999 - days * 10):04d}")


def test_retention_keeps_the_newest_the_young_the_proven_and_what_they_need(keys: Keys, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "x").write_text("x")
    base = take(keys.init(), tmp_path / "source")
    now = datetime.now(UTC)
    manifests = [_aged(base, days, now) for days in range(100, -1, -1)]
    kept = choose_kept(manifests, RetentionPolicy(10, 30), now, [manifests[5].snapshot_id, manifests[20].snapshot_id])
    assert set(kept) == {manifest.snapshot_id for manifest in (*manifests[70:], manifests[20])}
    old = [_aged(base, days, now) for days in range(140, 100, -1)]
    assert len(choose_kept(old, RetentionPolicy(10, 30), now, [])) == 10
    chained = [*old[:-1], replace(old[-1], requires=(old[3].snapshot_id,))]
    assert old[3].snapshot_id in choose_kept(chained, RetentionPolicy(1, 30), now, [])
    # Damaged ones take no place of the newest, unless there is nothing else.
    ids = [manifest.snapshot_id for manifest in old]
    assert set(choose_kept(old, RetentionPolicy(1, 30), now, [], ids[20:])) == {ids[19]}
    assert set(choose_kept(old, RetentionPolicy(1, 30), now, [], ids)) == {ids[-1]}


def test_prune_removes_what_nobody_needs_and_nothing_else(keys: Keys, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "common").write_bytes(random.Random(1).randbytes(2 * CHUNK))
    keys.init()
    made = []
    for number in range(5):
        (source / "own").write_bytes(random.Random(10 + number).randbytes(CHUNK))
        made.append(take(keys.writer(), source))
    later = datetime.now(UTC) + timedelta(days=60)
    planned = prune(keys.writer(), RetentionPolicy(2, 30), later, [made[1].snapshot_id], dry_run=True)
    assert planned.removed == (made[0].snapshot_id, made[2].snapshot_id)
    assert len(keys.writer().manifests()) == 5
    report = prune(keys.writer(), RetentionPolicy(2, 30), later, [made[1].snapshot_id])
    assert report.removed == planned.removed and report.removed_objects >= 2
    left = keys.reader().manifests()
    assert {manifest.snapshot_id for manifest in left} == {made[index].snapshot_id for index in (1, 3, 4)}
    assert all(verify_snapshot(keys.reader(), manifest.snapshot_id).ok for manifest in left)
    assert set(keys.writer().objects.names()) == set().union(*(manifest.objects for manifest in left))
    header = keys.store_path / "snapshots" / f"{made[1].snapshot_id}.json"
    header.chmod(0o600)
    header.write_bytes(header.read_bytes()[:-5])
    with pytest.raises(CodeblueError, match="header is damaged"):
        prune(keys.writer(), RetentionPolicy(1, 0), later)


def test_append_only_store_removes_nothing(keys: Keys, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "x").write_text("x")
    manifest = take(keys.init(append_only=True), tmp_path / "source")
    with pytest.raises(Refused, match="append-only"):
        prune(keys.writer(), RetentionPolicy(1, 0), datetime.now(UTC))
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o400 for path in all_files(keys.store_path))
    assert verify_snapshot(keys.reader(), manifest.snapshot_id).ok


def test_wrong_input_is_one_line_and_never_shows_a_key(keys: Keys, tmp_path: Path) -> None:
    secret = keys.identity.read_text().splitlines()[1]
    cases = [
        lambda: Recipients.parse([]),
        lambda: Recipients.parse(["age1nonsense"]),
        lambda: Recipients.parse([str(keys.identity)]),
        lambda: Recipients.parse([str(tmp_path / "missing")]),
        lambda: ContentStore.open(tmp_path / "missing"),
        lambda: ContentStore.init(tmp_path, [keys.recipient]),
        lambda: keys.init().begin("s", "weekly").__enter__(),
        lambda: keys.writer().begin("s", "scheduled", parent="01ARZ3NDEKTSV4RRFFQ69G5FAV").__enter__(),
        lambda: keys.writer().manifest("../../etc/passwd"),
        lambda: verify_snapshot(keys.writer(), "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
    ]
    for case in cases:
        with pytest.raises(BadInput) as caught:
            case()
        assert "\n" not in str(caught.value) and secret not in str(caught.value) and caught.value.hint
    keys.identity.chmod(0o644)
    with pytest.raises(BadInput, match="can be read by others"):
        Identity(keys.identity)
    with pytest.raises(BadInput) as caught:
        keys.identity.write_text(secret[:-3] + "ZZZ")
        keys.identity.chmod(0o600)
        Identity(keys.identity)
    assert secret[:-10] not in str(caught.value)


def test_a_file_that_never_rests_is_refused_or_allowed(keys: Keys, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    log = source / "log"
    # Reading it takes longer than the clock of the file system takes to tick, a few milliseconds.
    log.write_bytes(os.urandom(32 * 1024 * 1024))
    stop = threading.Event()

    def scribble() -> None:
        with log.open("r+b", buffering=0) as stream:
            while not stop.is_set():
                os.pwrite(stream.fileno(), os.urandom(64), 0)
                time.sleep(0.0005)

    thread = threading.Thread(target=scribble)
    thread.start()
    try:
        time.sleep(0.05)
        store = keys.init()
        with pytest.raises(CodeblueError, match="changed while it was read"):
            take(store, source)
        manifest = take(keys.writer(), source, "data", changing=True)
    finally:
        stop.set()
        thread.join()
    assert verify_snapshot(keys.reader(), manifest.snapshot_id).ok


# -- copies ----------------------------------------------------------------------------------------------------


def test_a_copy_is_whole_needs_no_key_and_goes_on_where_it_was_cut_off(keys: Keys, tmp_path: Path) -> None:
    store, root = keys.init(), tmp_path / "tree"
    root.mkdir()
    first, second = _two_snapshots(store, root)
    place = tmp_path / "elsewhere" / "copy"
    # Nobody who copies has a key of the writer's.
    source = ContentStore.open(store.path, naming_key_file=tmp_path / "nobody.key")
    report = copy_snapshots(source, place, [first.snapshot_id])
    assert report.copied == (first.snapshot_id,) and report.problems == () and report.bytes_written
    # Cut off: pieces are there, the header is not.
    for name in sorted(second.objects)[:1]:
        target = place / "objects" / name[:2] / name
        target.write_bytes(b"half")
    again = copy_snapshots(source, place)
    assert again.copied == (second.snapshot_id,) and again.there == 1
    assert copy_snapshots(source, place).copied == ()
    copy = ContentStore.open(place, identity=keys.identity, naming_key_file=tmp_path / "reader.key")
    for manifest in (first, second):
        assert verify_snapshot(copy, manifest.snapshot_id, digest=manifest.digest).ok
    restored = restore_snapshot(copy, second.snapshot_id, "configuration", tmp_path / "restored")
    assert restored.files and picture(tmp_path / "restored") == picture(root)


def test_what_is_damaged_is_not_copied_and_a_copy_is_no_place_for_another_store(keys: Keys, tmp_path: Path) -> None:
    store, root = keys.init(), tmp_path / "tree"
    root.mkdir()
    first, second = _two_snapshots(store, root)
    alone = sorted(second.objects - first.objects)[0]
    damaged = store.objects.path_of(alone)
    damaged.chmod(0o600)
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    report = copy_snapshots(store, tmp_path / "copy")
    assert report.copied == (first.snapshot_id,)
    assert len(report.problems) == 1 and alone in report.problems[0]
    other = Keys(_made(tmp_path / "other"))
    other.init()
    with pytest.raises(BadInput):
        copy_snapshots(store, other.store_path)
    with pytest.raises(BadInput):
        copy_snapshots(store, store.path)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "letter.txt").write_text("not yours")
    with pytest.raises(BadInput):
        copy_snapshots(store, tmp_path / "used")


def _two_snapshots(store: ContentStore, root: Path) -> tuple[SnapshotManifest, SnapshotManifest]:
    dice = random.Random(7)
    (root / "shared").write_bytes(dice.randbytes(3 * CHUNK + 17))
    first = take(store, root)
    (root / "more").write_bytes(dice.randbytes(2 * CHUNK))
    return first, take(store, root)


def _made(path: Path) -> Path:
    path.mkdir()
    return path
