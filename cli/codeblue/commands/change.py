"""codeblue change: the tickets that runs open and close by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from codeblue.state_output import json_line, json_option, local_time, show_fields, show_table, summary_line

if TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import ChangeTicket


@click.group(name="change")
def command() -> None:
    """Change tickets: runs open and close them; people approve and review.

    Example: codeblue change approve CHG-01JD3Q0J3V9W1X3C5Z7B9N2M4K --comment "agreed on the bridge"
    """


@command.command(name="list")
@click.option(
    "--status", type=click.Choice(["submitted", "approved", "implementing", "completed", "failed"]), help="Only these."
)
@click.option("--limit", type=click.IntRange(1, 10000), default=50, show_default=True, help="The latest so many.")
@json_option
def list_(status: str | None, limit: int, as_json: bool) -> None:
    """List the changes, the latest first.

    Example: codeblue change list --status submitted
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import open_store

    found = open_store().changes(limit, status)
    if as_json:
        for ticket in found:
            json_line("change", **ticket.__dict__)
        summary_line(changes=len(found))
        return
    show_table(
        ("CHANGE", "OPENED", "TYPE", "RISK", "TARGETS", "REQUESTER", "STATUS", "REVIEW"),
        [
            (
                ticket.change_id,
                local_time(ticket.opened_at),
                ticket.type,
                f"{ticket.risk.score} {ticket.risk.level}",
                ",".join(ticket.targets),
                ticket.requester,
                ticket.status,
                _review(ticket),
            )
            for ticket in found
        ],
        "There are no changes.",
    )


@command.command()
@click.argument("change")
@json_option
def show(change: str, as_json: bool) -> None:
    """Show a CHANGE with its risk, approvals and validation.

    Example: codeblue change show CHG-01JD3Q0J3V9W1X3C5Z7B9N2M4K
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import open_store

    ticket = open_store().change(change)
    if ticket is None:
        raise BadInput(f"there is no change {change}", "codeblue change list shows the changes")
    _show(ticket, as_json)


@command.command()
@click.argument("change")
@click.option("--comment", default="", help="Why, for the record.")
@click.option("--accept", "accepts", multiple=True, help="A loss that is accepted with it, such as data_loss.")
@json_option
def approve(change: str, comment: str, accepts: tuple[str, ...], as_json: bool) -> None:
    """Approve somebody else's CHANGE.

    Example: codeblue change approve CHG-01JD3Q0J3V9W1X3C5Z7B9N2M4K --accept data_loss
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import current_operator, open_store

    _show(open_store().approve(change, current_operator(), comment, accepts), as_json)


@command.command(name="break-glass")
@click.argument("change")
@click.option("--because", required=True, help="What happens if nobody acts now. Somebody else reviews it afterwards.")
@json_option
def break_glass(change: str, because: str, as_json: bool) -> None:
    """Go ahead with a CHANGE that nobody is there to approve.

    Example: codeblue change break-glass CHG-01JD3Q0J3V9W1X3C5Z7B9N2M4K --because "ward 3 has no medication list"
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import current_operator, open_store

    _show(open_store().break_glass(change, current_operator(), because), as_json)


@command.command(name="close-review")
@click.argument("change")
@click.option("--comment", required=True, help="What the review found.")
@json_option
def close_review(change: str, comment: str, as_json: bool) -> None:
    """Close the review that follows a CHANGE within 24 hours. Its requester cannot.

    Example: codeblue change close-review CHG-01JD3Q0J3V9W1X3C5Z7B9N2M4K --comment "as planned"
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import current_operator, open_store

    _show(open_store().review_change(change, current_operator(), comment), as_json)


def _show(ticket: ChangeTicket, as_json: bool) -> None:
    if as_json:
        json_line("change", **ticket.__dict__)
        summary_line(change=ticket.change_id, status=ticket.status)
        return
    show_fields(
        {
            "change": ticket.change_id,
            "type": ticket.type,
            "status": ticket.status,
            "requester": ticket.requester if ticket.requester_verified else f"{ticket.requester} (unverified)",
            "justification": ticket.justification,
            "targets": ", ".join(ticket.targets),
            "risk": f"{ticket.risk.score} of 10, {ticket.risk.level}: {'; '.join(ticket.risk.reasons)}",
            "plan": ticket.plan,
            "rollback": ticket.rollback,
            "run": ticket.run_id,
            "incident": ticket.incident_id,
            "opened": local_time(ticket.opened_at),
            "closed": local_time(ticket.closed_at) if ticket.closed_at else None,
            "outcome": ticket.outcome,
            "review": _review(ticket),
            "review found": ticket.review,
        }
    )
    for approval in ticket.approvals:
        who = approval.approver if approval.verified else f"{approval.approver} (unverified)"
        click.echo(
            f"  approved by {who} ({approval.kind}) {local_time(approval.approved_at)} {approval.comment}".rstrip()
        )
    for accepted in ticket.acceptances:
        click.echo(f"  accepted {accepted.kind} by {accepted.accepted_by} (in the {accepted.via})")
    for target, result in (ticket.validation or {}).items():
        click.echo(f"  {target}: {result.get('outcome')}")


def _review(ticket: ChangeTicket) -> str:
    if ticket.reviewed_at:
        return f"done by {ticket.reviewed_by}"
    return f"due {local_time(ticket.review_due_at)}" if ticket.review_due_at else "-"
