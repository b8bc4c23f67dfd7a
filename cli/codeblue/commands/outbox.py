"""codeblue outbox: tickets, notifications and copied heads on their way out."""

from __future__ import annotations

import click
from codeblue.state_output import json_line, json_option, local_time, show_table, summary_line


@click.group(name="outbox")
def command() -> None:
    """Tickets, notifications and copied heads on their way out.

    They are queued with the event itself and never hold up a recovery. A run starts to deliver
    when it has ended; what could not be delivered then is tried again by the next one, by hand, or from a timer.

    Example: codeblue outbox deliver
    """


@command.command(name="list")
@click.option("--state", type=click.Choice(["pending", "delivered", "expired"]), help="Only these.")
@click.option("--limit", type=click.IntRange(1, 10000), default=50, show_default=True, help="The latest so many.")
@json_option
def list_(state: str | None, limit: int, as_json: bool) -> None:
    """List the messages, the latest first.

    Example: codeblue outbox list --state pending
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._outbox import messages
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import open_store

    found = messages(open_store(), state, limit)
    if as_json:
        for message in found:
            json_line("message", **message.__dict__)
        summary_line(messages=len(found))
        return
    show_table(
        ("MESSAGE", "CREATED", "STATE", "ATTEMPTS", "LAST ERROR"),
        [
            (
                message.message_id,
                local_time(message.created_at),
                message.state,
                str(message.attempts),
                message.last_error or "",
            )
            for message in found
        ],
        "The outbox is empty.",
    )


@command.command()
@click.option(
    "--seconds", type=click.FloatRange(1, 3600), default=30.0, show_default=True, help="Begin nothing after this time."
)
@click.option("--now", "now_due", is_flag=True, help="Try again at once what failed before.")
@json_option
@click.pass_context
def deliver(context: click.Context, seconds: float, now_due: bool, as_json: bool) -> None:
    """Hand over what is due. Exits 1 when something was not accepted; it stays and is tried again.

    Runs that went on in a spool while the store was away are taken in first, with their messages.

    Example: codeblue outbox deliver --now
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._outbox import deliver as deliver_messages
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import open_store
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_intake import take_in_spools

    store = open_store()
    taken = take_in_spools(store)
    report = deliver_messages(store, seconds, now_due=now_due)
    exit_code = 1 if report.failed else 0
    if as_json:
        for each in taken:
            json_line("spool", **each.__dict__)
        for message_id in report.delivered:
            json_line("delivered", message=message_id)
        for message_id, error in report.failed:
            json_line("failed", message=message_id, error=error)
        summary_line(
            exit_code,
            delivered=len(report.delivered),
            failed=len(report.failed),
            waiting=report.waiting,
            unconfigured=report.unconfigured,
        )
    else:
        for each in taken:
            click.echo(f"run {each.run_id} in a spool: {each.reason}.")
        click.echo(f"{len(report.delivered)} delivered, {len(report.failed)} failed, {report.waiting} waiting.")
        for message_id, error in report.failed:
            click.echo(f"  {message_id}: {error}")
        for channel, count in report.unconfigured.items():
            click.echo(f"  {count} wait for a destination of the channel {channel} (see docs/audit.md).")
    context.exit(exit_code)
