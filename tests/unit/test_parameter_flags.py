# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Flags in a parameter of AWS Systems Manager."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AwsUnavailable
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import load_service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_features import ParameterPlace
from ansible_collections.codeblue.recovery.plugins.plugin_utils._parameter_flags import read_parameter, write_parameter
from aws_model import Answer, ModelAccount

PLACE = ParameterPlace("us-east-1", "/clinic/records/flags")


class Parameter:
    """One parameter; what it is asked changes it."""

    def __init__(self, value: str = '{"ai_enabled": true, "theme": "dark"}', kind: str = "String") -> None:
        self.value, self.kind, self.version = value, kind, 3
        self.lose_answer = False
        self.beside = False

    def get(self, _asked: Answer) -> Answer:
        return {"Parameter": {"Name": PLACE.name, "Type": self.kind, "Value": self.value, "Version": self.version}}

    def put(self, asked: Answer) -> Answer:
        self.value = asked["Value"]
        self.version += 2 if self.beside else 1
        if self.lose_answer:
            self.lose_answer = False
            late = AwsUnavailable("no answer")
            late.sent = True
            raise late
        return {"Version": self.version}

    @property
    def account(self) -> ModelAccount:
        return ModelAccount({"ssm.get_parameter": self.get, "ssm.put_parameter": self.put})


def test_only_the_flag_is_set_and_once() -> None:
    kept, account = Parameter(), None
    account = kept.account
    assert write_parameter(account, PLACE, {"ai_enabled": False}, {"ai_enabled": True}) is not None
    assert json.loads(kept.value) == {"ai_enabled": False, "theme": "dark"}
    assert write_parameter(account, PLACE, {"ai_enabled": False}, {}) is None
    assert account.writes == 1
    write_parameter(account, PLACE, {"ai_enabled": None}, {})
    assert json.loads(kept.value) == {"theme": "dark"}


def test_a_lost_answer_is_looked_after_and_not_written_twice() -> None:
    kept = Parameter()
    kept.lose_answer = True
    account = kept.account
    assert write_parameter(account, PLACE, {"ai_enabled": False}, {}) is not None
    assert account.writes == 1


def test_what_somebody_else_wrote_is_seen() -> None:
    kept = Parameter()
    with pytest.raises(Refused, match="somebody has changed ai_enabled meanwhile"):
        write_parameter(kept.account, PLACE, {"ai_enabled": False}, {"ai_enabled": None})
    assert kept.version == 3
    kept.beside = True
    with pytest.raises(CodeblueError, match="in the same moment"):
        write_parameter(kept.account, PLACE, {"ai_enabled": False}, {})


@pytest.mark.parametrize(
    ("kept", "said"),
    [(Parameter("[1]"), "holds no JSON object"), (Parameter(kind="SecureString"), "is a SecureString")],
)
def test_what_holds_no_flags_is_not_overwritten(kept: Parameter, said: str) -> None:
    with pytest.raises(CodeblueError, match=said):
        read_parameter(kept.account, PLACE)


def load(**place: t.Any) -> t.Any:
    feature = {"used_by": "records", "enabled": "ai_enabled", "places": [place]}
    variables = {
        "codeblue_environment": "lab",
        "codeblue_platform": "aws",
        "codeblue_kind": "ai",
        "codeblue_objectives": {"rto": "15m", "rpo": "5m"},
        "codeblue_aws": {"region": "us-east-1", "features": {"suggestions": feature}},
    }
    return load_service("ai", variables, ["ai", "records"])


def test_the_inventory_names_it() -> None:
    (place,) = load(parameter="/clinic/records/flags").features["suggestions"].places
    assert place.behind_api == PLACE and place.machine == ""
    with pytest.raises(BadInput, match="is no name of a parameter"):
        load(parameter="a b")
