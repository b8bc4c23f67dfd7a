"""Which runbook comes first when the criteria of several fire, on answers made up for it. Takes no time."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import PRECEDENCES, Card, load_card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult, Checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria import (
    PRODUCTION,
    CheckFails,
    Criterion,
    CriterionResult,
    Selection,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria_evaluation import evaluate
from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection_order import CalledFor, order_fired
from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection_survey import judge
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Objectives, Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._observations import Observations
from codeblue.runner.collection import own_runbooks

KINDS = {"gateway": "gateway", "patient_db": "database", "auth": "auth", "records": "service", "ai": "ai"}
NEEDS = {"auth": ("patient_db", "gateway"), "records": ("patient_db", "gateway", "auth"), "ai": ("gateway",)}


def service(name: str) -> Service:
    return Service(
        name=name,
        environment="lab",
        platform="host",
        kind=KINDS[name],
        tier=1,
        depends_on=NEEDS.get(name, ()),
        objectives=Objectives(60.0, 0.0),
        checks=Checks(interval=0.1, consecutive=3),
        host=None,
    )


CLINIC = {name: service(name) for name in KINDS}


class StubCard:
    """The parts of a card that the order looks at."""

    def __init__(self, precedence: str, kinds: tuple[str, ...], severity: str = "SEV1") -> None:
        self.precedence, self.kinds, self.severity = precedence, kinds, severity


CARDS = {
    "breach": StubCard("intrusion", tuple(KINDS.values())),
    "exposure": StubCard("exposure", tuple(KINDS.values())),
    "corruption": StubCard("integrity", ("database",)),
    "outage": StubCard("outage", tuple(KINDS.values())),
    "database": StubCard("service", ("database",)),
    "login": StubCard("service", ("auth",)),
    "ai": StubCard("service", ("ai",), "SEV2"),
    "slow": StubCard("performance", tuple(KINDS.values()), "SEV2"),
}


def fired(*targets: str) -> list[CriterionResult]:
    return [CriterionResult("any", bool(targets), targets, "", None, "")]


def answer(target: str, error_class: str | None, level: str = "deep", at: float = 0.0) -> CheckResult:
    return CheckResult(target, level, level, "http", error_class is None, 0.01, error_class, "", at)


def order(seen: list[CheckResult], **hits: tuple[str, ...]) -> list[CalledFor]:
    results = {name: fired(*hits.get(name, ())) for name in CARDS}
    return list(order_fired(results, CARDS, CLINIC, seen))  # type: ignore[arg-type]


def names(found: list[CalledFor]) -> list[str]:
    return [each.runbook for each in found]


def test_nothing_that_does_not_fire_is_called_for() -> None:
    assert order([]) == []


def test_what_grows_with_every_minute_comes_first() -> None:
    every = {name: ("patient_db",) for name in ("slow", "database", "outage", "corruption", "exposure", "breach")}
    seen = [answer("patient_db", "refused")]
    assert names(order(seen, **every)) == ["breach", "exposure", "corruption", "outage", "database", "slow"]


def test_a_dead_database_comes_before_the_login_that_needs_it() -> None:
    seen = [answer("patient_db", "refused", "shallow"), answer("auth", "unavailable"), answer("records", "unavailable")]
    found = order(seen, database=("patient_db", "auth", "records"), login=("auth",))
    assert names(found) == ["database", "login"]
    assert found[0].suspects == ("patient_db",)
    assert "needs 1 that fail" in found[1].reason


def test_a_login_that_is_gone_comes_before_the_database_that_works() -> None:
    seen = [answer("auth", "refused", "shallow"), answer("auth", "unavailable"), answer("records", "unavailable")]
    found = order(seen, database=("auth", "records"), login=("auth",))
    assert names(found) == ["login", "database"]
    assert found[1].suspects == ()


def test_a_single_dependent_that_fails_is_its_own_cause() -> None:
    found = order([answer("auth", "unavailable")], database=("auth",), login=("auth",))
    assert names(found) == ["login", "database"]


def test_what_all_failing_services_have_in_common_is_the_suspect_though_it_answers_others() -> None:
    # Passwords that no longer fit: every user of the database is alive and unusable, the sentinel's own user is not.
    seen = [answer("patient_db", None), answer("auth", "unavailable"), answer("records", "unavailable")]
    found = order(seen, database=("auth", "records"), login=("auth",))
    assert names(found) == ["database", "login"]
    assert found[0].suspects == ("patient_db",)
    assert "needs 1 that fail" in found[1].reason, "not by the alphabet"


@pytest.mark.parametrize(("error_class", "first"), [("timeout", "slow"), ("slow", "slow"), ("refused", "database")])
def test_lateness_is_no_absence(error_class: str, first: str) -> None:
    found = order([answer("patient_db", error_class)], database=("patient_db",), slow=("patient_db",))
    assert names(found)[0] == first


def test_lateness_without_a_card_for_it_stays_an_absence() -> None:
    # A hung server answers nobody, and no monitoring has seen it slow.
    assert names(order([answer("patient_db", "timeout")], database=("patient_db",))) == ["database"]


def test_only_the_last_answer_of_a_check_counts() -> None:
    seen = [answer("patient_db", "refused"), answer("patient_db", None), answer("auth", "status")]
    assert names(order(seen, database=("auth",), login=("auth",))) == ["login", "database"]


# -- the cards as they are ---------------------------------------------------------------------------------------------

OWN = {card.id: card for card in (load_card(runbook.card_path) for runbook in own_runbooks())}


def confirmed(**failing: tuple[str, str]) -> list[CheckResult]:
    """Three answers of every service at both levels, 0.1 s apart."""
    found = []
    for name in KINDS:
        for number in range(3):
            for level in ("shallow", "deep"):
                error_class, worst = failing.get(name, (None, ""))
                gone = error_class if level == "deep" or worst == "shallow" else None
                kind = "sentinel" if name == "patient_db" and level == "deep" else "http"
                at = 100.0 + number / 10
                found.append(CheckResult(name, level, level, kind, gone is None, 0.01, gone, "", at))
    return found


def first_of(cards: Mapping[str, Card], observations: list[CheckResult]) -> str | None:
    found = judge(cards, CLINIC, observations, 101.0, 10, 0.3)
    return found.runbooks[0] if found.runbooks else None


def test_a_healthy_clinic_calls_for_none_of_the_cards() -> None:
    assert judge(OWN, CLINIC, confirmed(), 101.0, 10, 0.3).called_for == ()


def test_the_cards_name_their_place() -> None:
    assert {card.precedence for card in OWN.values()} <= set(PRECEDENCES)


def test_most_services_away_is_the_complete_outage() -> None:
    everything = {name: ("refused", "shallow") for name in KINDS}
    assert first_of(OWN, confirmed(**everything)) == "complete_system_outage"


def test_a_database_away_is_its_own_runbook() -> None:
    seen = confirmed(patient_db=("refused", "shallow"), auth=("unavailable", "deep"), records=("unavailable", "deep"))
    assert first_of(OWN, seen) == "database_connection_failure"


def test_an_answer_after_the_moment_does_not_count() -> None:
    late = confirmed(patient_db=("refused", "shallow"))
    assert judge(OWN, CLINIC, late, 100.15, 10, 0.3).called_for == ()


def test_the_schema_knows_the_same_order() -> None:
    schema = json.loads((next(iter(own_runbooks())).card_path.parents[1] / "schema.json").read_text(encoding="utf-8"))
    assert schema["properties"]["detection"]["properties"]["precedence"]["enum"] == list(PRECEDENCES)


@pytest.mark.parametrize(("error_class", "fires"), [("unavailable", True), ("timeout", False), ("refused", False)])
def test_a_signal_that_nobody_answered_tells_of_nothing(error_class: str, fires: bool) -> None:
    criterion = Criterion("seen", "", CheckFails(Selection(levels=("signals",)), (), 3, 0.1))
    seen = [
        CheckResult("auth", "exfiltration", "signals", "http", False, 0.01, error_class, "", at, topic="intrusion")
        for at in (100.0, 100.1, 100.2)
    ]
    (result,) = evaluate([criterion], Observations(checks=seen), 100.3, PRODUCTION)
    assert result.fired is fires
