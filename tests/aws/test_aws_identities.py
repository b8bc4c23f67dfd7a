"""Keys of IAM users go off and on again, sessions are revoked, a new key goes into its secret and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from security_site import AwsSite
from simulated_account import SimulatedAccount

ROLE = {"Version": "2012-10-17", "Statement": []}


@pytest.fixture
def keys(account: SimulatedAccount) -> list[str]:
    """A user with one key, a role, a secret that holds the key."""
    iam = account.client("iam")
    iam.create_user(UserName="deploy")
    iam.create_role(RoleName="records-task", AssumeRolePolicyDocument=json.dumps(ROLE))
    made = iam.create_access_key(UserName="deploy")["AccessKey"]
    document = {"access_key_id": made["AccessKeyId"], "secret_access_key": made["SecretAccessKey"], "note": "kept"}
    account.client("secretsmanager").create_secret(Name="clinic/deploy", SecretString=json.dumps(document))
    account.asked.clear()
    return [made["AccessKeyId"], made["SecretAccessKey"]]


def site(tmp_path: Path, account: SimulatedAccount) -> AwsSite:
    identities = {"users": ["deploy"], "roles": ["records-task"], "new_keys": {"deploy": "clinic/deploy"}}
    return AwsSite(tmp_path, account, identities=identities)


def status(account: SimulatedAccount) -> dict[str, str]:
    found = account.client("iam").list_access_keys(UserName="deploy")["AccessKeyMetadata"]
    return {each["AccessKeyId"]: each["Status"] for each in found}


def policies(account: SimulatedAccount) -> list[str]:
    return list(account.client("iam").list_role_policies(RoleName="records-task")["PolicyNames"])


def everything_of(site: AwsSite) -> str:
    return "".join(
        path.read_bytes().decode("utf-8", "replace")
        for path in site.root.rglob("*")
        if path.is_file() and path.name != "identity"
    )


def test_keys_go_off_and_on_again(account: SimulatedAccount, keys: list[str], tmp_path: Path) -> None:
    records = site(tmp_path, account)
    looked = records.act("aws_identity_disable", "--check", reason="a test")
    assert looked.code == 0 and "would switch off the keys of deploy" in looked.summary, looked.out
    assert not account.changes
    played = records.act("aws_identity_disable", reason="a test")
    assert played.code == 0 and played.result["changed"] and played.result["old_key"] == "not_tried", played.out
    assert status(account) == {keys[0]: "Inactive"} and policies(account) == ["AWSRevokeOlderSessions"]
    policy = account.client("iam").get_role_policy(RoleName="records-task", PolicyName="AWSRevokeOlderSessions")
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement["Effect"] == "Deny" and list(statement["Condition"]) == ["DateLessThan"]
    assert keys[0] not in played.out and keys[1] not in everything_of(records)
    back = records.act("aws_identity_disable", state="absent")
    assert back.code == 0 and back.result["changed"], back.out
    assert status(account) == {keys[0]: "Active"} and policies(account) == []
    assert not account.client("iam").list_user_tags(UserName="deploy")["Tags"]
    nothing = records.act("aws_identity_disable", state="absent")
    assert nothing.code == 0 and not nothing.result["changed"] and "nothing is off" in nothing.summary


def test_who_the_run_works_as_is_not_cut_off(account: SimulatedAccount, keys: list[str], tmp_path: Path) -> None:
    records = site(tmp_path, account)
    records.keys = {"aws_access_key_id": keys[0], "aws_secret_access_key": keys[1]}
    refused = records.act("aws_identity_disable", reason="a test")
    assert refused.code != 0 and refused.said["exit_code"] == 3, refused.out
    assert "user deploy is who this run works as" in refused.said["error"] and not account.changes


def test_a_new_key_goes_into_its_secret_first(account: SimulatedAccount, keys: list[str], tmp_path: Path) -> None:
    records = site(tmp_path, account)
    played = records.act("aws_identity_disable", roles=[], new_keys="into_secret")
    assert played.code == 0 and played.result["changed"], played.out
    secrets = account.client("secretsmanager")
    now = json.loads(secrets.get_secret_value(SecretId="clinic/deploy", VersionStage="AWSCURRENT")["SecretString"])
    assert now["note"] == "kept" and now["access_key_id"] != keys[0]
    assert status(account) == {keys[0]: "Inactive", now["access_key_id"]: "Active"}
    # moto switches nothing off: that is said, and not taken for a proof.
    assert played.result["old_key"] == "accepted" and "is not proven in a lab" in played.summary
    names = account.changes
    assert names.index("update_secret_version_stage") < names.index("update_access_key")
    for value in (now["secret_access_key"], keys[1]):
        assert value not in played.out and value not in everything_of(records)
    full = records.act("aws_identity_disable", roles=[], new_keys="into_secret")
    assert full.code != 0 and full.said["exit_code"] == 3 and "takes no third one" in full.said["error"], full.out


@pytest.mark.parametrize("lost", ["create_access_key", "put_secret_value", "update_access_key"])
def test_a_run_that_was_cut_leaves_no_key_that_nobody_has(
    account: SimulatedAccount, keys: list[str], tmp_path: Path, lost: str
) -> None:
    records = site(tmp_path, account)
    arguments = {"roles": [], "new_keys": "into_secret"}
    run = records.killed_after(lost, "aws_identity_disable", **arguments)
    resumed = records.act("aws_identity_disable", run_id=run, **arguments)
    assert resumed.code == 0, resumed.out
    now = json.loads(
        account.client("secretsmanager").get_secret_value(SecretId="clinic/deploy", VersionStage="AWSCURRENT")[
            "SecretString"
        ]
    )
    assert status(account) == {keys[0]: "Inactive", now["access_key_id"]: "Active"}
    made = 2 if lost == "create_access_key" else 1
    assert account.changes.count("create_access_key") == made
    assert account.changes.count("delete_access_key") == made - 1, "only one whose secret nobody has ever had"
