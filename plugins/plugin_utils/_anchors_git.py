# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A commit per head on the branch `codeblue-heads` of a git repository, local or remote.

Written with git's plumbing in a bare cache of our own: there is no work tree and nothing of the repository's
own branches is touched. The remote should refuse force pushes; then its history cannot be rewritten from here.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import typing as t
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.plugin_utils._anchors import AnchorFailed
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_database import private_dir, state_dir

BRANCH = "codeblue-heads"
_GIT_SECONDS = 20.0
_PUSH_ATTEMPTS = 5
_WHO = "codeblue"
_MAIL = "codeblue@localhost"


def commit_head(remote: str, head: Mapping[str, t.Any]) -> None:
    """Add a head to the branch and push it. A head that is there already is left alone.

    :raises AnchorFailed: git is missing, or the remote cannot be reached or refuses.
    """
    cache = private_dir(state_dir() / "anchors") / f"{hashlib.sha256(remote.encode()).hexdigest()[:16]}.git"
    if not (cache / "HEAD").exists():
        _git(None, "init", "--quiet", "--bare", str(cache))
    name = f"heads/{head['run_id']}/{head['segment']}-{head['seq']:06d}.json"
    content = json.dumps(head, sort_keys=True, indent=1) + "\n"
    for attempt in range(_PUSH_ATTEMPTS):
        parent = _fetch(cache, remote)
        if parent and _git(cache, "ls-tree", "--name-only", parent, name):
            return
        commit = _commit(cache, parent, name, content)
        try:
            _git(cache, "push", "--quiet", remote, f"{commit}:refs/heads/{BRANCH}")
            return
        except AnchorFailed:
            # Another controller was faster: on top of its head, then.
            if attempt == _PUSH_ATTEMPTS - 1:
                raise


def _fetch(cache: Path, remote: str) -> str | None:
    listed = _git(cache, "ls-remote", "--heads", remote, BRANCH)
    if not listed:
        return None
    commit = listed.split()[0]
    _git(cache, "fetch", "--quiet", "--depth=1", remote, f"refs/heads/{BRANCH}")
    return commit


def _commit(cache: Path, parent: str | None, name: str, content: str) -> str:
    index = cache / f"index-{os.getpid()}"
    environment = {"GIT_INDEX_FILE": str(index)}
    try:
        if parent:
            _git(cache, "read-tree", parent, environment=environment)
        blob = _git(cache, "hash-object", "-w", "--stdin", stdin=content)
        _git(cache, "update-index", "--add", "--cacheinfo", f"100644,{blob},{name}", environment=environment)
        tree = _git(cache, "write-tree", environment=environment)
    finally:
        index.unlink(missing_ok=True)
    parents = ["-p", parent] if parent else []
    return _git(cache, "commit-tree", tree, *parents, "-m", f"Head {name}")


def _git(
    cache: Path | None, *arguments: str, stdin: str | None = None, environment: Mapping[str, str] | None = None
) -> str:
    where = ["--git-dir", str(cache)] if cache is not None else []
    try:
        done = subprocess.run(
            ["git", *where, *arguments],
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=False,
            env={
                **os.environ,
                # Nobody is there to answer a question.
                "GIT_TERMINAL_PROMPT": "0",
                "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=5"),
                "GIT_AUTHOR_NAME": _WHO,
                "GIT_AUTHOR_EMAIL": _MAIL,
                "GIT_COMMITTER_NAME": _WHO,
                "GIT_COMMITTER_EMAIL": _MAIL,
                **(environment or {}),
            },
        )
    except FileNotFoundError:
        raise AnchorFailed("git: anchor failed: git is not installed", "install git") from None
    except subprocess.TimeoutExpired:
        raise AnchorFailed(f"git: anchor failed: no answer within {_GIT_SECONDS:g} s") from None
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["unknown"])[-1]
        raise AnchorFailed(f"git: anchor failed: {arguments[0]}: {reason[:200]}")
    return done.stdout.strip()
