"""feature_flag, http_probe and release_restore as processes of their own, on real files and sockets (about 8 s)."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from host_cluster import ModuleResult, free_port, run_module


def step(directory: Path, key: str = "k") -> dict[str, Any]:
    return {"run_id": "run", "target": "ai", "key": key, "generation": 1, "lock_dir": str(directory / "locks")}


# -- feature_flag ----------------------------------------------------------------------------------------------------


def set_flags(
    tmp_path: Path, flags: dict[str, Any], check: bool = False, key: str = "k", **options: Any
) -> ModuleResult:
    arguments = {"path": str(tmp_path / "flags.json"), "flags": flags, "settle": 0.05, **options}
    given = {name: value for name, value in arguments.items() if value is not None}
    return run_module("feature_flag", {**given, "step": step(tmp_path, key)}, check=check, diff=True)


def written(tmp_path: Path, flags: Any) -> Path:
    path = tmp_path / "flags.json"
    path.write_text(json.dumps(flags))
    return path


def test_a_flag_is_set_and_all_others_are_kept(tmp_path: Path) -> None:
    path = written(tmp_path, {"ai_enabled": True, "theme": "dark", "limits": {"a": [1]}})
    path.chmod(0o640)
    planned = set_flags(tmp_path, {"ai_enabled": False}, check=True).result
    assert planned["changed"] and planned["accepted_at"] is None
    assert planned["diff"] == {"before": {"ai_enabled": True}, "after": {"ai_enabled": False}}
    assert json.loads(path.read_text())["ai_enabled"] is True
    done = set_flags(tmp_path, {"ai_enabled": False}).result
    assert done["changed"] and done["accepted_at"] and done["kept"] == 2
    assert (done["before"], done["after"]) == ({"ai_enabled": True}, {"ai_enabled": False})
    assert json.loads(path.read_text()) == {"ai_enabled": False, "theme": "dark", "limits": {"a": [1]}}
    assert path.stat().st_mode & 0o777 == 0o640
    assert set_flags(tmp_path, {"ai_enabled": False}).result["already_done"]
    again = run_module("feature_flag", {"path": str(path), "flags": {"ai_enabled": False}, "step": step(tmp_path, "l")})
    assert not again.result["changed"] and again.result["accepted_at"] is None


def test_null_takes_a_flag_away_and_a_missing_file_is_made(tmp_path: Path) -> None:
    assert set_flags(tmp_path, {"ai_share": 25}).result["before"] == {"ai_share": None}
    path = tmp_path / "flags.json"
    assert json.loads(path.read_text()) == {"ai_share": 25}
    gone = run_module("feature_flag", {"path": str(path), "flags": {"ai_share": None}, "step": step(tmp_path, "l")})
    assert gone.result["changed"] and json.loads(path.read_text()) == {}


def test_one_and_true_are_two_things(tmp_path: Path) -> None:
    path = written(tmp_path, {"ai_enabled": 1})
    assert set_flags(tmp_path, {"ai_enabled": True}).result["changed"]
    assert json.loads(path.read_text()) == {"ai_enabled": True}


def test_whoever_puts_a_flag_back_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path, {"ai_enabled": True})
    ended = threading.Event()

    def keep() -> None:
        while not ended.wait(0.02):
            if json.loads(path.read_text())["ai_enabled"] is False:
                path.write_text(json.dumps({"ai_enabled": True}))

    keeper = threading.Thread(target=keep)
    keeper.start()
    try:
        found = set_flags(tmp_path, {"ai_enabled": False}, settle=0.4).result
    finally:
        ended.set()
        keeper.join()
    assert found["failed"] and found["put_back"] == ["ai_enabled"] and found["changed"]
    assert "somebody else keeps it" in found["msg"] and "configuration management" in found["hint"]


def test_what_somebody_changed_meanwhile_is_not_built_upon(tmp_path: Path) -> None:
    path = written(tmp_path, {"ai_share": 100})
    found = set_flags(tmp_path, {"ai_share": 25}, expect={"ai_share": 5}).result
    assert found["failed"] and found["exit_code"] == 3 and "somebody else has changed it" in found["msg"]
    assert json.loads(path.read_text()) == {"ai_share": 100}


@pytest.mark.parametrize("content", ["", "{", "[1]", "7", "\x00"])
def test_what_is_no_object_is_never_overwritten(tmp_path: Path, content: str) -> None:
    path = tmp_path / "flags.json"
    path.write_text(content)
    found = set_flags(tmp_path, {"ai_enabled": False}).result
    assert found["failed"] and "no JSON" in found["msg"] and path.read_text() == content


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"path": "relative.json"}, "is not absolute"),
        ({"path": "/nowhere/at/all/flags.json"}, "there is no directory"),
        ({"flags": {"a": [1]}}, "must be true, false, a number, a text or null"),
        ({"path": None}, "path, read_command"),
        ({"path": None, "read_command": ["/bin/true"]}, "read_command, write_command"),
        ({"path": None, "read_command": ["true"], "write_command": ["true"]}, "absolute path of a program"),
    ],
)
def test_bad_input_is_said_in_one_line(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    found = set_flags(tmp_path, options.pop("flags", {"ai_enabled": False}), **options).result
    assert found["failed"] and words in found["msg"] and "\n" not in found["msg"]


def test_flags_of_a_command(tmp_path: Path) -> None:
    store = written(tmp_path, {"ai_enabled": True, "other": 1})
    tool = tmp_path / "flagctl"
    tool.write_text(
        "#!/usr/bin/env python3\n"
        "import json, sys\n"
        f"flags = json.load(open({str(store)!r}))\n"
        "if sys.argv[1] == 'dump':\n    print(json.dumps(flags))\n"
        "else:\n"
        "    flags.update(json.load(sys.stdin))\n"
        "    flags = {name: value for name, value in flags.items() if value is not None}\n"
        f"    json.dump(flags, open({str(store)!r}, 'w'))\n"
    )
    tool.chmod(0o755)
    commands = {"path": None, "read_command": [str(tool), "dump"], "write_command": [str(tool), "patch"]}
    assert set_flags(tmp_path, {"ai_enabled": False, "other": None}, **commands).result["changed"]
    assert json.loads(store.read_text()) == {"ai_enabled": False}
    tool.write_text("#!/bin/sh\necho no licence >&2; exit 3\n")
    broken = set_flags(tmp_path, {"a": True}, key="l", **commands).result
    assert broken["failed"] and "no licence" in broken["msg"]


def test_a_look_needs_no_step(tmp_path: Path) -> None:
    path = written(tmp_path, {"ai_enabled": True})
    assert run_module("feature_flag", {"path": str(path)}).result["before"] == {"ai_enabled": True}
    assert not (tmp_path / "locks").exists()


# -- the history of flags -----------------------------------------------------------------------------------------


def states(tmp_path: Path, **options: Any) -> list[dict[str, Any]]:
    """The states that are told, the present one first."""
    seen = set_flags(tmp_path, {}, **options).result
    assert seen["changed"] is False and seen["accepted_at"] is None
    return list(seen["history"])


def test_what_is_set_is_kept_in_the_history_with_what_was_found(tmp_path: Path) -> None:
    path, history = written(tmp_path, {"a": 1}), tmp_path / "history.jsonl"
    assert [each["by"] for each in states(tmp_path, history_file=str(history))] == ["unrecorded"]
    set_flags(tmp_path, {"a": 2}, history_file=str(history), reason="a is too small")
    found = states(tmp_path, history_file=str(history))
    assert [each["flags"] for each in found] == [{"a": 2}, {"a": 1}]
    assert found[0]["by"] == "codeblue, run run: a is too small" and found[1]["by"] == "unrecorded"
    assert found[0]["changed_at"] > found[1]["changed_at"] and found[0]["version"] != found[1]["version"]
    path.write_text('{"a": 1}')
    again = states(tmp_path, history_file=str(history))
    assert [each["flags"]["a"] for each in again] == [1, 2, 1] and again[0]["version"] == again[2]["version"]
    with history.open("a") as stream:
        stream.write('{"torn')
    assert len(states(tmp_path, history_file=str(history))) == 3
    assert len(states(tmp_path, history_file=str(history), history_entries=1)) == 1


def test_git_keeps_the_history_of_a_file(tmp_path: Path) -> None:
    def git(*arguments: str, date: str = "") -> None:
        environment = {
            **os.environ,
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_AUTHOR_DATE": date,
            "GIT_COMMITTER_DATE": date,
        }
        command = ["git", "-C", str(tmp_path), "-c", "user.name=ops", "-c", "user.email=ops@clinic.invalid", *arguments]
        subprocess.run(command, env=environment, check=True, capture_output=True)

    git("init", "--quiet")
    for day, value in enumerate((True, False), start=1):
        written(tmp_path, {"ai_enabled": value})
        git("add", "flags.json")
        git("commit", "--quiet", "--message", "flags", date=f"2026-01-0{day}T09:00:00+00:00")
    found = states(tmp_path, work_tree=str(tmp_path))
    assert [each["flags"]["ai_enabled"] for each in found] == [False, True]
    assert [each["changed_at"][:10] for each in found] == ["2026-01-02", "2026-01-01"] and found[0]["by"] == "ops"
    written(tmp_path, {"ai_enabled": "perhaps"})
    assert [each["by"] for each in states(tmp_path, work_tree=str(tmp_path))] == ["unrecorded", "ops", "ops"]


def test_a_command_tells_the_history(tmp_path: Path) -> None:
    written(tmp_path, {"a": 2})
    told = tmp_path / "told.json"
    told.write_text(
        json.dumps(
            [
                {"changed_at": "2026-01-01T09:00:00Z", "flags": {"a": 1}, "by": "ops"},
                {"changed_at": "2026-01-02T10:00:00+01:00", "flags": {"a": 2}},
            ]
        )
    )
    command = ["/bin/cat", str(told)]
    found = states(tmp_path, history_command=command)
    assert [(each["flags"]["a"], each["changed_at"]) for each in found] == [
        (2, "2026-01-02T09:00:00.000000Z"),
        (1, "2026-01-01T09:00:00.000000Z"),
    ]
    told.write_text('[{"changed_at": "yesterday", "flags": {}}]')
    failed = set_flags(tmp_path, {}, history_command=command)
    assert failed.failed and "no history" in failed.result["msg"]


def test_one_history_is_enough(tmp_path: Path) -> None:
    written(tmp_path, {})
    failed = set_flags(tmp_path, {}, history_file=str(tmp_path / "h"), work_tree=str(tmp_path))
    assert failed.failed and failed.result["exit_code"] == 2 and "one history is enough" in failed.result["msg"]


# -- http_probe ------------------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/slow":
            time.sleep(0.3)
        if self.path == "/dies":
            self.connection.close()
            return
        content = b'{"triage": "urgent"}'
        self.send_response(503 if self.path == "/failing" else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Quiet."""


@contextmanager
def serving() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_answers_are_measured_and_judged() -> None:
    with serving() as port:
        wanted = {
            "right": {"body_has": "urgent"},
            "slow": {},
            "wrong": {"body_has": "routine"},
            "failing": {},
            "dies": {},
        }
        requests = [
            {
                "id": name,
                "method": "POST",
                "url": f"http://127.0.0.1:{port}/{name}",
                "body": '{"note": "a canary that is never returned"}',
                **options,
            }
            for name, options in wanted.items()
        ]
        requests += [
            {"id": "refused", "url": f"http://127.0.0.1:{free_port()}/"},
            {"id": "late", "method": "POST", "url": f"http://127.0.0.1:{port}/slow", "body": "{}"},
        ]
        done = run_module("http_probe", {"requests": requests, "count": 3, "timeout": 2.0})
        late = run_module("http_probe", {"requests": requests[-1:], "count": 5, "timeout": 0.1}).result["answers"][
            "late"
        ]
    answers = done.result["answers"]
    assert not done.result["changed"] and "canary" not in json.dumps(answers)
    assert answers["right"]["right"] == 3 and answers["right"]["slowest_seconds"] < 0.3
    assert answers["slow"]["median_seconds"] >= 0.3 and answers["slow"]["right"] == 3
    assert answers["wrong"]["problems"] == {"body": 3} and answers["wrong"]["median_seconds"] is None
    assert answers["failing"]["problems"] == {"status": 3} and answers["failing"]["statuses"] == [503]
    assert answers["dies"]["problems"] == {"closed": 3}
    assert answers["refused"]["problems"] == {"refused": 3}
    assert late["problems"] == {"timeout": 1} and late["asked"] == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 0}, "count: 0 is not between"),
        ({"requests": [{"id": "a", "url": "ftp://x/"}]}, "is no http:// or https:// URL"),
        ({"requests": [{"id": "a", "url": "http://x/", "method": "BREW"}]}, "method 'BREW' is not known"),
        ({"requests": [{"id": "a", "url": "http://x/", "headers": "[]"}]}, "headers must be an object"),
    ],
)
def test_a_bad_request_is_said_in_one_line(options: dict[str, Any], words: str) -> None:
    arguments = {"requests": [{"id": "a", "url": "http://127.0.0.1:9/"}], **options}
    found = run_module("http_probe", arguments).result
    assert found["failed"] and words in found["msg"]


# -- release_restore -------------------------------------------------------------------------------------------------

FILES = {"ai.py": b"print('ai')\n", "model.json": b'{"weights": {}}\n' * 50, "data/words.txt": b"pain\n"}


def release(root: Path, version: str = "1.1.0") -> Path:
    directory = root / "releases" / version
    for name, content in FILES.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    lines = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(FILES.items()))
    (directory / "MANIFEST.sha256").write_text("".join(lines))
    (root / "current").symlink_to(f"releases/{version}")
    return directory


def restore(tmp_path: Path, root: Path, mode: str = "restore", check: bool = False, **options: Any) -> dict[str, Any]:
    key = options.pop("key", "k")
    arguments = {"release_root": str(root), "mode": mode, "step": step(tmp_path, key), **options}
    return run_module("release_restore", arguments, check=check, diff=True).result


def test_damaged_and_missing_files_come_back_from_an_intact_copy(tmp_path: Path) -> None:
    directory = release(tmp_path / "ai")
    release(tmp_path / "copy")
    bad_copy = release(tmp_path / "bad")
    (bad_copy / "model.json").write_bytes(b"as damaged as the other")
    (directory / "model.json").write_bytes(b"{")
    (directory / "model.json").chmod(0o600)
    (directory / "data" / "words.txt").unlink()
    (directory / "ai.py.restored.77").write_bytes(b"left by an attempt that was killed")
    sources = [str(tmp_path / "bad" / "releases"), str(tmp_path / "copy" / "releases")]
    seen = restore(tmp_path, tmp_path / "ai", "inspect", sources=sources)
    assert seen["before"]["damaged"] == ["data/words.txt", "model.json"] and not seen["changed"]
    assert seen["copies"]["model.json"] == str(tmp_path / "copy/releases/1.1.0/model.json")
    planned = restore(tmp_path, tmp_path / "ai", check=True, sources=sources)
    assert planned["changed"] and (directory / "model.json").read_bytes() == b"{"
    done = restore(tmp_path, tmp_path / "ai", sources=sources)
    assert done["changed"] and set(done["restored"]) == {"data/words.txt", "model.json"}
    assert done["after"]["damaged"] == [] and done["after"]["added"] == []
    assert (directory / "model.json").read_bytes() == FILES["model.json"]
    assert (directory / "model.json").stat().st_mode & 0o777 == 0o600
    again = restore(tmp_path, tmp_path / "ai", key="l", sources=sources)
    assert not again["changed"] and again["accepted_at"] is None


def test_a_file_comes_from_another_machine(tmp_path: Path) -> None:
    directory = release(tmp_path / "one")
    release(tmp_path / "two")
    (directory / "model.json").unlink()
    read = restore(tmp_path, tmp_path / "two", "read", names=["model.json"])
    assert base64.b64decode(read["contents"]["model.json"]) == FILES["model.json"]
    done = restore(tmp_path, tmp_path / "one", contents=read["contents"])
    assert done["restored"] == {"model.json": "another machine"}
    assert (directory / "model.json").read_bytes() == FILES["model.json"]


def test_a_copy_that_is_damaged_too_is_not_used(tmp_path: Path) -> None:
    directory = release(tmp_path / "ai")
    (directory / "model.json").write_bytes(b"{")
    nothing = restore(tmp_path, tmp_path / "ai")
    assert nothing["failed"] and "there is no intact copy of model.json" in nothing["msg"]
    assert nothing["accepted_at"] is None
    forged = restore(tmp_path, tmp_path / "ai", key="l", contents={"model.json": base64.b64encode(b"forged").decode()})
    assert forged["failed"] and "is damaged too" in forged["msg"]
    assert (directory / "model.json").read_bytes() == b"{"
    assert sorted(path.name for path in directory.iterdir()) == ["MANIFEST.sha256", "ai.py", "data", "model.json"]


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda directory: (directory / "MANIFEST.sha256").unlink(), "cannot be proven"),
        (lambda directory: (directory / "MANIFEST.sha256").write_text("torn"), "is no line of sha256sum"),
        (lambda directory: directory.rename(directory.with_name("9")), "MANIFEST.sha256"),
    ],
)
def test_without_a_manifest_nothing_is_proven(tmp_path: Path, break_it: Any, words: str) -> None:
    break_it(release(tmp_path / "ai"))
    found = restore(tmp_path, tmp_path / "ai")
    assert found["failed"] and found["exit_code"] == 3 and words in found["msg"] + str(found["hint"])
