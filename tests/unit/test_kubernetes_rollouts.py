"""Which revision is gone back to: what serves, what was proven, the newest not marked; never a bad one."""

from __future__ import annotations

import random
import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_rollouts import (
    Rollout,
    choose,
    read_rollout,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_templates import (
    cleaned,
    digest_of,
    shown,
    version_of,
)

WHERE = "Deployment records in namespace clinic"


def template(image: str, **metadata: t.Any) -> dict[str, t.Any]:
    return {
        "metadata": {"creationTimestamp": None, "labels": {"app": "records"}, **metadata},
        "spec": {"containers": [{"name": "records", "image": image, "env": [{"name": "KEY", "value": "s3cret"}]}]},
    }


def owner(uid: str, controller: bool = True) -> list[dict[str, t.Any]]:
    return [{"uid": uid, "controller": controller, "kind": "Deployment", "name": "records"}]


def replica_set(number: int, image: str, uid: str = "d1", **metadata: t.Any) -> dict[str, t.Any]:
    body = template(image, **metadata)
    body["metadata"]["labels"] = {"app": "records", "pod-template-hash": f"h{number}"}
    return {
        "metadata": {
            "name": f"records-h{number}",
            "uid": f"rs{number}",
            "labels": {"pod-template-hash": f"h{number}"},
            "annotations": {"deployment.kubernetes.io/revision": str(number)},
            "ownerReferences": owner(uid),
        },
        "spec": {"template": body},
    }


def pod(number: int, ready: bool = True, **metadata: t.Any) -> dict[str, t.Any]:
    return {
        "metadata": {
            "labels": {"pod-template-hash": f"h{number}"},
            "ownerReferences": owner(f"rs{number}"),
            **metadata,
        },
        "status": {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


def deployment(image: str, **metadata: t.Any) -> dict[str, t.Any]:
    return {
        "kind": "Deployment",
        "metadata": {"name": "records", "uid": "d1"},
        "spec": {"template": template(image, **metadata)},
    }


def rollout(current: str, history: list[str], ready: dict[int, int] | None = None) -> Rollout:
    pods = [pod(number) for number, count in (ready or {}).items() for _each in range(count)]
    sets = [replica_set(number, image) for number, image in enumerate(history, start=1)]
    return read_rollout(deployment(current), sets, pods)


def name(image: str) -> str:
    return version_of(template(image))


def test_what_serves_now_is_the_strongest_evidence() -> None:
    found = rollout("r:3", ["r:1", "r:2", "r:3"], ready={1: 2})
    choice = choose(found, [name("r:2")], (), WHERE)
    assert (choice.bad.version, choice.good.version) == (name("r:3"), name("r:1"))
    assert choice.reason == "2 ready pods of it serve now"


def test_what_was_proven_goes_before_what_is_newer() -> None:
    found = rollout("r:4", ["r:1", "r:2", "r:3", "r:4"])
    assert choose(found, [name("r:9"), name("r:2"), name("r:1")], (), WHERE).good.version == name("r:2")


def test_the_version_left_before_never_comes_back() -> None:
    """After a rollback the one before is the bad one."""
    found = rollout("r:2", ["r:1", "r:3", "r:2"])
    assert choose(found, (), (), WHERE).good.version == name("r:3")
    assert choose(found, (), {name("r:3")}, WHERE).good.version == name("r:1")


def test_a_bad_version_that_serves_and_was_proven_is_not_taken_all_the_same() -> None:
    found = rollout("r:3", ["r:1", "r:2", "r:3"], ready={2: 3})
    assert choose(found, [name("r:2")], {name("r:2")}, WHERE).good.version == name("r:1")


def test_without_a_good_one_the_error_says_what_is_marked() -> None:
    found = rollout("r:2", ["r:1", "r:2"])
    with pytest.raises(CodeblueError) as caught:
        choose(found, (), {name("r:1")}, WHERE)
    assert caught.value.message.startswith(f"{WHERE}: no revision to go back to from {name('r:2')}")
    assert name("r:1") in caught.value.message


def test_the_same_template_under_another_number_is_the_same_revision() -> None:
    restarted = {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}
    sets = [replica_set(1, "r:1"), replica_set(2, "r:2"), replica_set(3, "r:2", annotations=restarted)]
    found = read_rollout(deployment("r:2", annotations=restarted), sets, [pod(2), pod(3)])
    assert [each.version for each in found.earlier] == [name("r:1")]
    assert (found.current.number, found.current.ready) == (3, 2)


def test_somebody_elses_history_and_pods_are_left_out() -> None:
    sets = [replica_set(1, "r:1"), replica_set(2, "x:1", uid="other"), replica_set(3, "r:3")]
    strangers = [pod(1, ownerReferences=owner("other")), pod(1, deletionTimestamp="now"), pod(1, ready=False)]
    found = read_rollout(deployment("r:3"), sets, strangers)
    assert [(each.version, each.ready) for each in found.earlier] == [(name("r:1"), 0)]


def test_a_template_that_no_controller_has_seen_yet_is_the_current_one() -> None:
    found = rollout("r:3", ["r:1", "r:2"])
    assert found.current.version == name("r:3") and found.current.number == 3
    assert [each.version for each in found.earlier] == [name("r:2"), name("r:1")]


@pytest.mark.parametrize(("kind", "label"), [("StatefulSet", "records-abc"), ("DaemonSet", "abc")])
def test_controller_revisions_are_read(kind: str, label: str) -> None:
    revisions = [
        {
            "metadata": {
                "name": "records-abc" if image == "r:1" else "records-def",
                "labels": {"controller-revision-hash": "abc" if image == "r:1" else "def"},
                "ownerReferences": owner("w1"),
            },
            "revision": number,
            "data": {"spec": {"template": {"$patch": "replace", **template(image)}}},
        }
        for number, image in ((1, "r:1"), (2, "r:2"))
    ]
    serving = pod(1)
    serving["metadata"] |= {"labels": {"controller-revision-hash": label}, "ownerReferences": owner("w1")}
    workload = {"kind": kind, "metadata": {"uid": "w1"}, "spec": {"template": template("r:2")}}
    found = read_rollout(workload, revisions, [serving])
    assert (found.current.version, found.current.number) == (name("r:2"), 2)
    assert [(each.version, each.ready, each.hash) for each in found.earlier] == [(name("r:1"), 1, label)]
    assert "$patch" not in found.earlier[0].template


@pytest.mark.parametrize("seed", range(40))
def test_whatever_the_history_the_choice_is_kept_and_neither_bad_nor_current(seed: int) -> None:
    dice = random.Random(seed)
    images = [f"r:{dice.randint(1, 5)}" for _each in range(dice.randint(1, 9))]
    found = rollout(images[-1], images, ready={dice.randint(1, 9): dice.randint(0, 3) for _each in range(3)})
    marked = {name(f"r:{number}") for number in range(1, 6) if dice.random() < 0.4}
    proven = [name(f"r:{number}") for number in dice.sample(range(1, 6), 2)]
    possible = {name(image) for image in images} - marked - {found.current.version}
    if not possible:
        with pytest.raises(CodeblueError):
            choose(found, proven, marked, WHERE)
        return
    good = choose(found, proven, marked, WHERE).good
    assert good.version in possible
    # Rolling back over and over ends, and never meets a version twice.
    left = marked | {found.current.version}
    while possible - left:
        left.add(choose(found, proven, left, WHERE).good.version)
    with pytest.raises(CodeblueError):
        choose(found, proven, left, WHERE)


def test_a_version_is_called_by_its_image_and_its_digest() -> None:
    found = name("registry.example.org:5000/clinic/records:1.2.0")
    assert found.startswith("records:1.2.0+") and len(found.partition("+")[2]) == 12
    pinned = name("registry.example.org/records@sha256:" + "ab" * 32)
    assert pinned.startswith("records@abababababab+")


def test_what_controllers_add_does_not_make_another_version() -> None:
    plain = template("r:1")
    labelled = template("r:1", labels={"app": "records", "pod-template-hash": "h1"}, creationTimestamp=None)
    assert digest_of(plain) == digest_of(labelled) == digest_of(cleaned(labelled))
    assert digest_of(plain) != digest_of(template("r:1", annotations={"checksum/config": "2"}))


def test_a_diff_shows_that_a_secret_differs_and_not_the_secret() -> None:
    salt = b"of this diff"
    found = shown(template("r:1", annotations={"token": "hidden-too"}), salt)
    assert "s3cret" not in str(found) and "hidden-too" not in str(found)
    assert found["spec"]["containers"][0]["image"] == "r:1"
    assert found["spec"]["containers"][0]["env"][0]["name"] == "KEY"
    other = template("r:1")
    other["spec"]["containers"][0]["env"][0]["value"] = "another"
    assert shown(other, salt)["spec"] != found["spec"] == shown(template("r:1"), salt)["spec"]
