"""codeblue breach: exposures of patients' data, their notices and the last days for them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import click
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from codeblue.state_output import json_line, json_option, local_time, show_fields, show_table, summary_line

if TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Store
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_breaches import Breach

_NOTICES = ["individuals", "hhs", "media", "covered_entity"]


@click.group(name="breach")
def command() -> None:
    """Breaches of protected health information: whom they concern, who has to be told, and by when.

    Runs of hipaa_compliance_violation open them. Nothing here names a patient; who it concerns is in the encrypted
    evidence.

    Example: codeblue breach list
    """


@command.command(name="list")
@click.option("--status", type=click.Choice(["open", "not_a_breach", "closed", "exercise"]), help="Only these.")
@click.option("--limit", type=click.IntRange(1, 10000), default=100, show_default=True, help="The latest so many.")
@json_option
def list_(status: str | None, limit: int, as_json: bool) -> None:
    """List the breaches with the next notice of each, the latest first.

    Example: codeblue breach list --status open
    """
    found = _store().breaches(status, limit)
    if as_json:
        for breach in found:
            json_line("breach", **_as_json(breach))
        summary_line(breaches=len(found))
        return
    show_table(
        ("BREACH", "STATUS", "DISCOVERED", "PEOPLE", "NEXT NOTICE", "BY"),
        [
            (
                breach.breach_id,
                breach.status,
                local_time(breach.discovered_at),
                _number(breach),
                *_next(breach),
            )
            for breach in found
        ],
        "There are no breaches.",
    )


@command.command()
@click.argument("breach")
@json_option
def show(breach: str, as_json: bool) -> None:
    """Show a BREACH: its times, the factors of the risk assessment, and every notice.

    Example: codeblue breach show BRC-01JD3Q0J3V9W1X3C5Z7B9N2M4K-records
    """
    _show(_breach(_store(), breach), as_json)


@command.command()
@click.argument("breach")
@click.argument("notice", type=click.Choice(_NOTICES))
@json_option
def notice(breach: str, notice: str, as_json: bool) -> None:
    """Print the draft of a NOTICE of a BREACH; what a person has to add stands in brackets.

    Example: codeblue breach notice BRC-01JD3Q0J3V9W1X3C5Z7B9N2M4K-records individuals
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._breach_notices import notice as draft

    text = draft(_breach(_store(), breach), notice)
    if as_json:
        json_line("notice", breach=breach, notice=notice, text=text)
        summary_line(breach=breach, notice=notice)
    else:
        click.echo(text)


@command.command()
@click.argument("breach")
@click.argument("notice", type=click.Choice(_NOTICES))
@click.option("--reference", required=True, help="Where the proof lies, such as the number of the mailing.")
@click.option("--at", "at", metavar="TIME", help="When, with offset, such as 2026-01-31T14:00:00+01:00. Default: now.")
@json_option
def sent(breach: str, notice: str, reference: str, at: str | None, as_json: bool) -> None:
    """Say that a NOTICE of a BREACH was sent.

    Example: codeblue breach sent BRC-01JD3Q0J3V9W1X3C5Z7B9N2M4K-records hhs --reference "OCR 4711"
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import current_operator
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import format_time

    moment = format_time(_moment(at) if at else datetime.now(UTC))
    _show(_store().notice_sent(breach, notice, current_operator(), moment, reference), as_json)


@command.command()
@click.argument("breach")
@click.option("--because", required=True, help="How it is known.")
@click.option("--affected", type=click.IntRange(0), help="How many people it concerns.")
@click.option("--resident", "residents", multiple=True, metavar="STATE=NUMBER", help="How many of them live there.")
@click.option("--discovered", metavar="TIME", help="When it was first known, with offset.")
@click.option("--delay-until", type=click.DateTime(["%Y-%m-%d"]), help="Law enforcement asked for it (45 CFR 164.412).")
@click.option("--hold", help="Why its records are kept beyond six years; an empty text takes the hold away.")
@json_option
def amend(
    breach: str,
    because: str,
    affected: int | None,
    residents: tuple[str, ...],
    discovered: str | None,
    delay_until: datetime | None,
    hold: str | None,
    as_json: bool,
) -> None:
    """Correct what is known of a BREACH; its clocks follow.

    Example: codeblue breach amend BRC-01JD3Q0J3V9W1X3C5Z7B9N2M4K-records --resident NY=412 --because "addresses"
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import current_operator

    changed = _store().amend_breach(
        breach,
        current_operator(),
        because,
        affected=affected,
        residents=_residents(residents) if residents else None,
        discovered_at=_moment(discovered) if discovered else None,
        delayed_until=delay_until.date() if delay_until else None,
        hold=hold,
    )
    _show(changed, as_json)


@command.command()
@click.argument("breach")
@click.option(
    "--as",
    "status",
    type=click.Choice(["not_a_breach", "closed"]),
    required=True,
    help="not_a_breach: a low probability of compromise (45 CFR 164.402(2)). closed: every notice was sent.",
)
@click.option("--because", required=True, help="The reason, which an auditor will ask for.")
@json_option
def decide(breach: str, status: str, because: str, as_json: bool) -> None:
    """Decide about a BREACH. A breach is presumed until somebody documents otherwise.

    Example: codeblue breach decide BRC-01JD3Q0J3V9W1X3C5Z7B9N2M4K-records --as closed --because "all notices sent"
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import current_operator

    _show(_store().decide_breach(breach, status, current_operator(), because), as_json)


def _store() -> Store:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import open_store

    return open_store()


def _breach(store: Store, breach_id: str) -> Breach:
    found = store.breach(breach_id)
    if found is None:
        raise BadInput(f"there is no breach {breach_id}", "codeblue breach list shows them")
    return found


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{text!r} is no time", "write it like 2026-01-31T14:00:00+01:00") from None
    if moment.tzinfo is None:
        raise BadInput(f"{text!r} has no offset", "write it like 2026-01-31T14:00:00+01:00")
    return moment


def _residents(given: tuple[str, ...]) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in given:
        state, _equals, number = each.partition("=")
        if not state or not number.isdigit():
            raise BadInput(f"--resident {each!r} is not understood", "write it like NY=412")
        found[state] = int(number)
    return found


def _number(breach: Breach) -> str:
    if breach.affected is None:
        return "?"
    return f"{breach.affected}{'+' if breach.facts.get('affected_is_least') else ''}"


def _next(breach: Breach) -> tuple[str, str]:
    outstanding = breach.outstanding()
    return (outstanding[0].id, str(outstanding[0].due_on)) if outstanding else ("-", "-")


def _as_json(breach: Breach) -> dict[str, object]:
    duties = [
        {
            "notice": each.id,
            "rule": each.rule,
            "state": each.state,
            "why": each.why,
            "due_on": each.due_on.isoformat() if each.due_on else None,
        }
        for each in breach.duties()
    ]
    return {**breach.__dict__, "duties": duties, "retain_until": breach.retain_until().isoformat()}


def _show(breach: Breach, as_json: bool) -> None:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._breach_notices import factors

    if as_json:
        json_line("breach", **_as_json(breach))
        summary_line(breach=breach.breach_id, status=breach.status)
        return
    show_fields(
        {
            "breach": breach.breach_id,
            "status": breach.status,
            "service": f"{breach.target} ({breach.environment})",
            "cause": breach.cause,
            "run": breach.run_id,
            "incident": breach.incident_id,
            "discovered": local_time(breach.discovered_at),
            "exposed": f"{breach.exposure_began_at or '?'} to {breach.exposure_ended_at or '?'}",
            "people": _number(breach),
            "residents": ", ".join(f"{state} {number}" for state, number in breach.residents.items()),
            "delayed until": breach.delayed_until,
            "hold": breach.hold,
            "kept until": str(breach.retain_until()),
            "decision": breach.decision,
            "decided by": breach.decided_by,
        }
    )
    click.echo("Risk assessment (45 CFR 164.402(2)):")
    for name, text in factors(breach):
        click.echo(f"  {name + ':':<20} {text}")
    click.echo("Notices:")
    sent_notices = {each.duty: each for each in breach.notices}
    today = datetime.now(UTC).date()
    for duty in breach.duties():
        done = sent_notices.get(duty.id)
        click.echo(
            f"  {duty.id:<15} {_state(done.sent_at if done else None, duty.due_on, today):<30} {duty.rule}: {duty.why}"
        )


def _state(sent_at: str | None, due_on: date | None, today: date) -> str:
    if sent_at is not None:
        return f"sent {sent_at[:10]}"
    if due_on is None:
        return "not required"
    return f"by {due_on} ({(due_on - today).days} days left)" if due_on >= today else f"OVERDUE since {due_on}"
