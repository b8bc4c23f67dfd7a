"""No private key, no token of a session and no secret of a planned rotation is in anything that a run leaves behind;
about 120 s.

Searched is what `test_canary` searches, for the keys as they are and as Ansible would encode a file.
"""

from __future__ import annotations

import base64
import os
import re
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from clinic_site import Finished, Site, finish, wait_for, watch_journal
from test_canary import passwords, traces

pytestmark = [pytest.mark.lab, pytest.mark.extended]

RUNBOOK = "authentication_system_down"
_PRIVATE = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n(.+?)-----END", re.DOTALL)
# Header and payload of a JSON web token.
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}")


def key_files(site: Site) -> list[Path]:
    layout = site.lab.parts.layout
    signing = site.lab.directory.glob("machines/app*/secrets/token_signing.pem")
    # The last good key, which root of a signer's machine keeps.
    kept = site.lab.directory.glob("machines/app*/codeblue/kept/auth/signing.pem")
    return [*signing, *kept, layout.login_certificate, layout.authority_key]


def words_of(paths: Iterable[Path]) -> set[str]:
    """A piece of every private key, as it is and at the three places where base64 can begin."""
    found = set()
    for path in paths:
        text = path.read_text()
        for match in _PRIVATE.finditer(text):
            middle = match.group(1).strip()[18:]
            found.add(middle.splitlines()[0])
            found |= {base64.b64encode(middle[start : start + 42].encode()).decode() for start in range(3)}
    return found


def searched(site: Site, words: set[str], since: float, *finished: Finished) -> list[str]:
    kept = {str(path) for path in key_files(site)}
    found = traces(site, sorted(words), since, *finished)
    return [line for line in found if line.rpartition(": ")[0] not in kept]


def test_what_is_searched_for_would_be_found(site: Site) -> None:
    since = time.time() - 1
    words = words_of(key_files(site))
    assert len(words) >= 12, "two keys of tokens may be one; certificate and authority"
    (path,) = site.lab.directory.glob("machines/app1/secrets/token_signing.pem")
    slurped = base64.b64encode(path.read_bytes()).decode()
    assert searched(site, words, since, Finished(0, path.read_text(), "")), "a key as it is"
    assert searched(site, words, since, Finished(0, "", slurped)), "a key as slurp gives it"
    (site.account / "work" / "left").write_text(slurped)
    assert searched(site, words, since), "a key in a file"


@pytest.mark.parametrize("way", ["codeblue", "ansible-playbook"])
@pytest.mark.parametrize("fault", ["auth_signing_key_wrong", "auth_certificate_expired"])
def test_no_key_and_no_token_is_left_behind(site: Site, way: str, fault: str) -> None:
    since = time.time() - 1
    words = words_of(key_files(site))
    site.lab.break_(fault)
    words |= words_of(key_files(site))
    if way == "codeblue":
        finished = site.codeblue("run", RUNBOOK, "-i", str(site.inventory), "-vvvv")
    else:
        finished = site.playbook(f"codeblue.recovery.{RUNBOOK}", "--diff", "-vvvv")
    assert finished.code == 0, finished
    words |= words_of(key_files(site))
    assert searched(site, words, since, finished) == []
    assert tokens(site, finished) == []


def shared_secrets(site: Site) -> set[str]:
    """Every password and API key of a consumer."""
    keys = site.lab.directory.glob("machines/app*/secrets/*.key*")
    return {word for path in keys for word in path.read_text().split()} | set(passwords(site))


@pytest.mark.parametrize(
    ("target", "way"), [("patient_db", "codeblue"), ("auth", "ansible-playbook"), ("ai", "codeblue")]
)
def test_no_secret_of_a_planned_rotation_is_left_behind(site: Site, target: str, way: str) -> None:
    since = time.time() - 1
    words = words_of(key_files(site)) | shared_secrets(site)
    options = ["--limit", target, "-e", "codeblue_secrets_overlap=0s", "-e", "codeblue_secrets_watch=1s", "-vvvv"]
    if way == "codeblue":
        process = site.start_codeblue("run", "rotate_secrets", "-i", str(site.inventory), *options)
    else:
        process = site.start_playbook("codeblue.recovery.rotate_secrets", "--diff", *options)
    finished = finish(process, 600.0)
    assert finished.code == 0, finished
    after = words_of(key_files(site)) | shared_secrets(site)
    assert after - words, "something was replaced"
    assert searched(site, words | after, since, finished) == []
    assert tokens(site, finished) == []


@pytest.mark.parametrize("number", [2, 6])
def test_no_key_is_left_behind_after_a_kill(site: Site, number: int) -> None:
    since = time.time() - 1
    site.lab.break_("auth_signing_key_wrong")
    words = words_of(key_files(site))
    process = site.start_codeblue("run", RUNBOOK, "-i", str(site.inventory), "--json", "-vvvv")
    wait_for(lambda: len(watch_journal(site.database)) > number, 30, f"step {number}")
    os.kill(process.pid, signal.SIGKILL)
    killed = finish(process)
    words |= words_of(key_files(site))
    resumed = site.codeblue("resume", site.runs()[0].run_id, "-vvvv")
    assert resumed.code == 0, resumed
    words |= words_of(key_files(site))
    assert searched(site, words, since, killed, resumed) == []
    assert tokens(site, killed, resumed) == []


def tokens(site: Site, *finished: Finished) -> list[str]:
    """Where a token of a session stands, in what the account has and in the output."""
    found = [str(each) for each in finished if _TOKEN.search(each.out + each.err)]
    for path in site.account.rglob("*"):
        if path.is_file() and _TOKEN.search(path.read_bytes().decode("utf-8", "replace")):
            found.append(str(path))
    return found
