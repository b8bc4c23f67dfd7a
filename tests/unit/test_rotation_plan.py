"""What rotations decide by: files of consumers, tokens, who uses a secret. Below 1 s."""

from __future__ import annotations

import base64
import json
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.module_utils._secret_file import SecretFile, secret_digest
from ansible_collections.codeblue.recovery.plugins.module_utils._secret_usage import find_holders, held_digests
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer, MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, load_service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_credentials import Credential
from ansible_collections.codeblue.recovery.plugins.plugin_utils._secret_consumers import (
    foreign_sessions,
    look_for_consumers,
    secrets_of,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._session_signatures import is_signed_with, signed_anew
from ansible_collections.codeblue.recovery.plugins.plugin_utils._session_tokens import new_pair, public_of
from codeblue.lab.clinic.tokens import InvalidToken, Signer, Verifier

SECRET = "a-password-that-nobody-guesses"


@pytest.mark.parametrize(
    ("content", "text", "expected"),
    [
        ("{password}", "abc def\n", ("app", "abc def")),
        ("user={role} password={password}", "user=app_2 password=x$y", ("app_2", "x$y")),
        ("postgresql://{role}:{password}@db/clinic", "postgresql://app:pw@db/clinic\n", ("app", "pw")),
        ("DB_USER={role}\nDB_PASSWORD={password}\n", "DB_USER=app_2\nDB_PASSWORD=pw\n", ("app_2", "pw")),
        ("user={role} password={password}", "rotated", None),
        ("user={role} password={password}", "user=app password=pw\nuser=other password=pw", None),
    ],
)
def test_login_and_password_are_read_out_of_a_consumers_file(
    content: str, text: str, expected: tuple[str, str] | None
) -> None:
    credential = Credential("app", (), content, "app_2")
    assert credential.read(text) == expected
    if expected is not None:
        assert credential.read(credential.written(*expected)) == expected


@pytest.fixture
def issued(tmp_path: Path) -> tuple[str, str, str]:
    """A token, and the pair that it was signed with."""
    private, public = new_pair()
    path = tmp_path / "signing.pem"
    path.write_text(private)
    return Signer(str(path)).issue("probe"), private, public


def test_a_token_signed_anew_is_taken_with_its_key_only(issued: tuple[str, str, str], tmp_path: Path) -> None:
    token, private, public = issued
    other, other_public = new_pair()
    assert public_of(private) == public
    assert is_signed_with(token, public) is True and is_signed_with(token, other_public) is False
    made = signed_anew(token, other, time.time())
    assert made is not None and is_signed_with(made, other_public) is True
    both, alone = tmp_path / "both.pem", tmp_path / "alone.pem"
    both.write_text(public + other_public)
    alone.write_text(other_public)
    assert Verifier.from_file(str(both)).subject(made) == Verifier.from_file(str(both)).subject(token) == "probe"
    assert Verifier.from_file(str(alone)).subject(made) == "probe"
    with pytest.raises(InvalidToken):
        Verifier.from_file(str(alone)).subject(token)


def test_a_token_that_cannot_be_read_is_not_made() -> None:
    private, public = new_pair()

    def part(value: dict[str, t.Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    named = f"{part({'alg': 'EdDSA', 'kid': 'k1'})}.{part({'exp': 1})}.AAAA"
    assert signed_anew(named, private, 0.0) is None
    for token in ("opaque", "a.b.c", f"{part({'alg': 'HS256'})}.{part({'exp': 1})}.AAAA"):
        assert signed_anew(token, private, 0.0) is None and is_signed_with(token, public) is None


def test_a_file_with_the_same_secret_is_found_whatever_else_is_in_it(tmp_path: Path) -> None:
    key, _public = new_pair()
    named, pem = tmp_path / "named", tmp_path / "key.pem"
    named.write_text(f"user=app password={SECRET}\n")
    pem.write_text(key)
    places = {
        "quoted.ini": f"[db]\npassword = '{SECRET}'\n",
        "url.env": f"DSN=postgresql://app:{SECRET}@db:5432/clinic\n",
        "same.pem": key.replace("\n", "\r\n"),
        "other.ini": "password = another-one-altogether\n",
    }
    (tmp_path / "below").mkdir()
    for name, text in places.items():
        (tmp_path / "below" / name).write_text(text)
    (tmp_path / "below" / "link").symlink_to(named)
    files = [{"path": str(named), "pattern": "password=(?P<password>.+)"}, {"path": str(pem), "pattern": None}]
    held = held_digests([*files, {"path": str(tmp_path / "gone"), "pattern": None}], "salt")
    assert held[str(named)] == [secret_digest(SECRET.encode(), "salt")] and str(tmp_path / "gone") not in held
    known = [digest for each in held.values() for digest in each]
    found, cut = find_holders([str(tmp_path / "below")], known, "salt", Deadline(5.0))
    assert {Path(path).name for path in found} == {"quoted.ini", "url.env", "same.pem"} and cut == []
    assert find_holders([str(tmp_path / "below")], known, "another salt", Deadline(5.0))[0] == {}
    with pytest.raises(BadInput, match="pattern"):
        held_digests([{"path": str(named), "pattern": "("}], "salt")


def database() -> Service:
    consumer = {"machine": "app1", "secret_file": "/etc/app/password", "process": {"manager": "systemd", "unit": "app"}}
    member = {"role": "primary", "address": "10.0.0.1", "port": 5432, "data_dir": "/data"}
    return load_service(
        "patient_db",
        {
            "codeblue_environment": "staging",
            "codeblue_platform": "host",
            "codeblue_kind": "database",
            "codeblue_objectives": {"rto": "5m", "rpo": "5m"},
            "codeblue_host": {
                "postgresql": {
                    "bin_dir": "/usr/bin",
                    "database": "clinic",
                    "write_paths": ["direct"],
                    "members": {"db1": {**member, "process": consumer["process"]}},
                },
                "credentials": {
                    "app": {
                        "alternate": "app_2",
                        "content": "user={role} password={password}",
                        "consumers": [consumer],
                    }
                },
            },
        },
        {"patient_db", "db1", "app1", "batch1"},
    )


def test_a_session_from_an_address_that_no_consumer_has_is_named() -> None:
    service = database()
    hostvars = {"db1": {"ansible_host": "10.0.0.1"}, "app1": {"ansible_host": "10.0.0.7"}, "batch1": {}}
    own = {"role": "app_2", "application_name": "app", "client": "10.0.0.7", "count": 5}
    other = {"role": "app", "application_name": "nightly", "client": "10.0.0.9", "count": 1}
    reader = {"role": "reader", "application_name": "", "client": "10.0.0.9", "count": 1}
    (found,) = foreign_sessions(service, {"patient_db": service}, hostvars, [own, other, reader])
    assert str(found) == (
        "patient_db: 10.0.0.9: 1 sessions of nightly use the password of app, and no consumer of it says so"
    )


def test_a_consumer_on_another_machine_is_named_and_a_silent_machine_is_told() -> None:
    known = secrets_of(database())
    asked: list[MachineCall] = []

    def look(calls: t.Sequence[MachineCall]) -> list[MachineAnswer]:
        asked.extend(calls)
        return [answer(call) for call in calls]

    def answer(call: MachineCall) -> MachineAnswer:
        if call.machine == "db1":
            return MachineAnswer("db1", unreachable="no route")
        if call.arguments.get("files"):
            return MachineAnswer(call.machine, result={"held": {"/etc/app/password": ["d1"]}, "found": {}})
        found = {"app1": {"/etc/app/password": ["d1"]}, "batch1": {"/etc/nightly.ini": ["d1"]}}[call.machine]
        return MachineAnswer(call.machine, result={"held": {}, "found": found, "not_seen_whole": []})

    hostvars: dict[str, dict[str, t.Any]] = {
        "app1": {},
        "db1": {"codeblue_secret_directories": ["/etc/app"]},
        "batch1": {"codeblue_secret_directories": ["/etc"]},
    }
    usage = look_for_consumers(known, hostvars, ["app1", "batch1", "db1"], look)
    assert [str(each) for each in usage.missing] == [
        "patient_db: batch1: /etc/nightly.ini holds the password of app, and no consumer of it says so"
    ]
    assert usage.unseen == ("db1: no route",)
    assert len({call.arguments["salt"] for call in asked}) == 1
    assert all(call.arguments["known"] == ["d1"] for call in asked if "known" in call.arguments)


def test_directories_of_a_kept_key_are_for_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "kept" / "auth" / "signing.pem"
    SecretFile.read(str(path), True).replace(b"x", False)
    assert [each.stat().st_mode & 0o777 for each in (path, path.parent, path.parent.parent)] == [0o600, 0o700, 0o700]
    with pytest.raises(BadInput, match="no directory"):
        SecretFile.read(str(tmp_path / "another" / "file"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"content": "{password}"}, "needs {role} once"),
        ({"content": "user={role}"}, "needs {password} once"),
        ({"alternate": "app"}, "is the role itself"),
    ],
)
def test_credentials_that_cannot_alternate_are_bad_input(change: dict[str, str], words: str) -> None:
    given = {"consumers": [], "alternate": "app_2", "content": "{role} {password}", **change}
    host = {"credentials": {"app": given}}
    with pytest.raises(BadInput) as refused:
        load_service(
            "patient_db",
            {"codeblue_platform": "host", "codeblue_kind": "database", "codeblue_host": host},
            {"patient_db"},
        )
    assert words in refused.value.message
