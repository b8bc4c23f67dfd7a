"""The clocks of a breach, its notices, and what the state store keeps of it; about 2 s."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils import _breach_clock as clock
from ansible_collections.codeblue.recovery.plugins.plugin_utils._breach_notices import factors, notice, officer_message
from ansible_collections.codeblue.recovery.plugins.plugin_utils._operator import Operator
from ansible_collections.codeblue.recovery.plugins.plugin_utils._outbox import messages
from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import ProcessIdentity
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import RunOpening, Store, open_store
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_breaches import Breach
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_intake import take_in_spools
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import StoreUnavailable
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_resilient import ResilientStore
from codeblue.doctor.breaches import check_breaches
from codeblue.doctor.finding import exit_code_of

NEW_YORK = clock.zone_of("America/New_York")
OFFICER = Operator("officer", "os", verified=True)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def days(found: tuple[clock.Duty, ...]) -> dict[str, str | None]:
    return {each.id: each.due_on.isoformat() if each.due_on else None for each in found}


# -- clocks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("discovered", "last"),
    [
        ("2026-01-01T12:00:00+00:00", "2026-03-02"),
        # 2028 is a leap year: one day earlier by the calendar.
        ("2028-01-01T12:00:00+00:00", "2028-03-01"),
        ("2028-02-29T12:00:00+00:00", "2028-04-29"),
        # 2100 is none, although it can be divided by four.
        ("2100-01-01T12:00:00+00:00", "2100-03-02"),
        ("2026-12-31T12:00:00+00:00", "2027-03-01"),
        # One in the morning in London is the evening before in New York, and days count there.
        ("2026-06-02T01:00:00+01:00", "2026-07-31"),
        ("2026-06-02T04:00:00+00:00", "2026-08-01"),
    ],
)
def test_the_sixtieth_day_after_discovery(discovered: str, last: str) -> None:
    assert clock.last_day(at(discovered), NEW_YORK) == date.fromisoformat(last)


@pytest.mark.parametrize(
    ("discovered", "last"),
    [
        ("2026-06-01T12:00:00+00:00", "2027-03-01"),
        # The year after is a leap year: 60 days after its beginning is 29 February.
        ("2027-06-01T12:00:00+00:00", "2028-02-29"),
        # New Year's Eve in New York, New Year in UTC.
        ("2027-01-01T03:00:00+00:00", "2027-03-01"),
        ("2027-01-01T06:00:00+00:00", "2028-02-29"),
    ],
)
def test_sixty_days_after_the_end_of_the_year(discovered: str, last: str) -> None:
    assert clock.last_day_after_the_year(at(discovered), NEW_YORK) == date.fromisoformat(last)


def test_a_day_ends_at_midnight_there_also_when_clocks_change() -> None:
    spring, autumn = date(2026, 3, 8), date(2026, 11, 1)
    before = clock.end_of(spring - timedelta(days=1), NEW_YORK)
    assert clock.end_of(spring, NEW_YORK) - before == timedelta(hours=23)
    assert clock.end_of(autumn, NEW_YORK) - clock.end_of(autumn - timedelta(days=1), NEW_YORK) == timedelta(hours=25)


@pytest.mark.parametrize(
    ("affected", "residents", "hhs", "media"),
    [
        (499, {}, "2027-03-01", None),
        (500, {}, "2026-07-31", None),
        (501, {}, "2026-07-31", "2026-07-31"),
        # 501 people, but at most 300 in any State.
        (501, {"NY": 300, "NJ": 201}, "2026-07-31", None),
        (1200, {"NY": 501, "NJ": 699}, "2026-07-31", "2026-07-31"),
        # Where 250 of them live is not known: they may all live where 300 others do.
        (550, {"NY": 300}, "2026-07-31", "2026-07-31"),
        (700, {"NY": 500, "NJ": 200}, "2026-07-31", None),
        (None, {}, "2026-07-31", "2026-07-31"),
        (0, {}, None, None),
    ],
)
def test_who_has_to_be_told_depends_on_the_number(
    affected: int | None, residents: dict[str, int], hhs: str | None, media: str | None
) -> None:
    found = days(clock.duties(at("2026-06-01T12:00:00+00:00"), NEW_YORK, "covered_entity", affected, residents))
    assert found == {"individuals": None if affected == 0 else "2026-07-31", "hhs": hhs, "media": media}


def test_a_business_associate_tells_the_covered_entity_and_nobody_else() -> None:
    found = clock.duties(at("2026-06-01T12:00:00+00:00"), NEW_YORK, "business_associate", 900)
    assert days(found) == {"covered_entity": "2026-07-31"}
    assert found[0].rule == "45 CFR 164.410"


def test_law_enforcement_can_delay_a_notice_and_never_shorten_it() -> None:
    moment = at("2026-06-01T12:00:00+00:00")
    later = clock.duties(moment, NEW_YORK, "covered_entity", 10, {}, date(2026, 9, 1))
    assert days(later) == {"individuals": "2026-09-01", "hhs": "2027-03-01", "media": None}
    earlier = clock.duties(moment, NEW_YORK, "covered_entity", 10, {}, date(2026, 6, 5))
    assert days(earlier)["individuals"] == "2026-07-31"


def test_records_are_kept_six_years() -> None:
    assert clock.retain_until(at("2026-06-01T12:00:00+00:00"), NEW_YORK) == date(2032, 6, 1)
    assert clock.retain_until(at("2028-02-29T12:00:00+00:00"), NEW_YORK) == date(2034, 3, 1)


def test_what_cannot_be_computed_is_refused() -> None:
    with pytest.raises(BadInput, match="no time zone"):
        clock.duties(datetime(2026, 6, 1), NEW_YORK, "covered_entity", 1)
    with pytest.raises(BadInput, match="not known"):
        clock.zone_of("Mars/Olympus")


# -- notices -----------------------------------------------------------------------------------------------------------


def breach(**changes: object) -> Breach:
    base = Breach(
        breach_id="BRC-1-records",
        run_id="01TESTBREACH00000000000001",
        incident_id="INC-1",
        target="records",
        environment="production",
        cause="public_endpoint",
        entity="covered_entity",
        time_zone="America/New_York",
        status="open",
        discovered_at="2026-06-01T12:00:00.000000Z",
        exposure_began_at="2026-05-30T08:00:00.000Z",
        exposure_ended_at=None,
        affected=60,
        residents={"NY": 60},
        delayed_until=None,
        facts={
            "organisation": "Example Clinic",
            "contact": {"e-mail": "privacy@clinic.invalid"},
            "covered_entity": "County Hospital",
            "affected_is_least": True,
            "nature": {"identifiers": {"ssn": 2, "clinical_text": 60}, "log_lines": 0},
            "recipients": {
                "accessors": [{"accessor": "ab12", "authenticated": False, "network": "203.0.113.0/24", "requests": 3}]
            },
            "acquired": {"answers": 3, "first": "2026-05-30T08:00:00Z", "last": "2026-05-30T09:00:00Z"},
            "mitigation": {"pages_refused": ["/patients"], "releases": {"app1": "1.8.0"}},
        },
        hold=None,
        decision=None,
        decided_by=None,
        decided_at=None,
        updated_at="2026-06-01T12:00:00.000000Z",
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def test_the_notice_to_individuals_says_what_it_has_to_say() -> None:
    text = notice(breach(), "individuals")
    for part in ("What happened", "Which data", "What you can do", "What we are doing", "Whom to ask"):
        assert part in text
    assert "May 30, 2026" in text and "June 1, 2026" in text and "social security number" in text
    assert "credit bureaus" in text and "privacy@clinic.invalid" in text and "[Name]" in text


def test_every_notice_can_be_drafted_and_an_exercise_says_so() -> None:
    for name in ("individuals", "hhs", "media"):
        assert not notice(breach(), name).startswith("EXERCISE")
        assert notice(breach(status="exercise"), name).startswith("EXERCISE")
    assert "60 (at least)" in notice(breach(), "hhs") and "fewer than 500" in notice(breach(), "hhs")
    associate = breach(entity="business_associate")
    assert "County Hospital" in notice(associate, "covered_entity")
    with pytest.raises(BadInput, match="no notice"):
        notice(associate, "media")
    assert len(factors(breach())) == 4
    assert "203.0.113.0/24" in factors(breach())[1][1]


# -- the store ---------------------------------------------------------------------------------------------------------


OPENING = RunOpening(
    run_id="01TESTBREACH00000000000001",
    runbook="hipaa_compliance_violation",
    severity="SEV1",
    environment="production",
    targets=("records",),
    operator=OFFICER,
    because=None,
    accepts=(),
    fingerprint={},
    origin="cli",
    collection_version="0",
    objectives={},
    holder=ProcessIdentity.current(),
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("CODEBLUE_ALLOW_LOCAL_STATE", "1")
    monkeypatch.delenv("CODEBLUE_STATE_URL", raising=False)
    opened = open_store()
    opened.create_run(OPENING)
    yield opened
    opened.close()


def opened(store: Store) -> Breach:
    return store.open_breach(breach(), *officer_message(breach()))


def test_opening_starts_the_clocks_once_and_tells_the_officer_once(store: Store) -> None:
    first = opened(store)
    assert opened(store) == first
    told = [each for each in messages(store) if each.kind == "breach-BRC-1-records"]
    assert sorted(each.channel for each in told) == ["notify", "ticket"]
    records = [each for each in store.ledger_records(first.run_id) if each["kind"] == "breach_opened"]
    assert len(records) == 1 and records[0]["fields"]["affected"] == 60  # type: ignore[index]
    assert [each.id for each in first.outstanding()] == ["individuals", "hhs"]


def test_a_breach_of_a_run_without_its_store_is_taken_in_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("CODEBLUE_SPOOL_DIR", str(tmp_path / "spool"))
    monkeypatch.setenv("CODEBLUE_ALLOW_LOCAL_STATE", "1")
    monkeypatch.delenv("CODEBLUE_STATE_URL", raising=False)
    alone = ResilientStore(None, StoreUnavailable("the store is lost"))
    alone.create_run(OPENING)
    for _ in range(2):
        alone.open_breach(breach(), *officer_message(breach()))
    alone.exposure_ended(OPENING.run_id, "BRC-1-records", "2026-06-01T12:10:00.000000Z")
    alone.close_run(OPENING.run_id, "recovered", {})
    main = open_store()
    assert [each.taken for each in take_in_spools(main)] == [True]
    taken = main.breach("BRC-1-records")
    assert taken is not None and taken.exposure_ended_at == "2026-06-01T12:10:00.000000Z"
    assert len([each for each in messages(main) if each.kind == "breach-BRC-1-records"]) == 2
    main.close()


def test_people_correct_send_and_decide(store: Store) -> None:
    opened(store)
    changed = store.amend_breach("BRC-1-records", OFFICER, "addresses", affected=600, residents={"NY": 600})
    assert [each.id for each in changed.outstanding()] == ["individuals", "hhs", "media"]
    earlier = store.amend_breach("BRC-1-records", OFFICER, "a mail", discovered_at=at("2026-05-31T12:00:00+00:00"))
    assert days(earlier.duties())["individuals"] == "2026-07-30"
    with pytest.raises(BadInput, match="not sent yet: individuals, hhs, media"):
        store.decide_breach("BRC-1-records", "closed", OFFICER, "done")
    for name in ("individuals", "hhs", "media"):
        store.notice_sent("BRC-1-records", name, OFFICER, "2026-06-20T12:00:00.000000Z", f"mailing {name}")
    again = store.notice_sent("BRC-1-records", "hhs", OFFICER, "2026-07-20T12:00:00.000000Z", "another")
    assert next(each for each in again.notices if each.duty == "hhs").reference == "mailing hhs"
    closed = store.decide_breach("BRC-1-records", "closed", OFFICER, "all sent")
    assert closed.status == "closed" and closed.decided_by == "officer"
    with pytest.raises(BadInput, match="reason"):
        store.amend_breach("BRC-1-records", OFFICER, " ", hold="lawsuit")
    assert store.amend_breach("BRC-1-records", OFFICER, "counsel", hold="lawsuit").hold == "lawsuit"


def test_doctor_warns_in_time_and_fails_when_it_is_late(store: Store) -> None:
    opened(store)
    resilient = ResilientStore(store)
    last = clock.end_of(date(2026, 7, 31), NEW_YORK)
    for moment, wanted in (
        (at("2026-06-02T12:00:00+00:00"), 0),
        (last - timedelta(days=29, hours=1), 4),
        (last - timedelta(seconds=1), 4),
        (last, 2),
    ):
        found = list(check_breaches(resilient, moment))
        assert exit_code_of(found) == wanted, (moment, found)
    store.decide_breach("BRC-1-records", "not_a_breach", OFFICER, "encrypted at rest, key not taken")
    assert exit_code_of(check_breaches(resilient, last)) == 0
