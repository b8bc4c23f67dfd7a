"""`codeblue drill`: prove that a runbook recovers what it says."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from codeblue.drill.history_command import history, record

if TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import Card
    from codeblue.drill.campaign import Campaign
    from codeblue.drill.catalogue import Drill
    from codeblue.drill.site import DrillLab, Site

    _Prepared = tuple[list[Drill], DrillLab, Callable[[], Site]]


class _DrillGroup(click.Group):
    """`codeblue drill RUNBOOK`, and commands whose names no runbook has."""

    allow_interspersed_args = True

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        inner = self.commands.get(args[0]) if args else None
        if inner is not None:
            return inner.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # What follows is a runbook and options, not the name of a command.
        return click.Command.parse_args(self, ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        return click.Command.invoke(self, ctx)


@click.group(
    cls=_DrillGroup,
    no_args_is_help=False,
    subcommand_metavar="",
    epilog="Exits 0 only when every drill passed: silent before the fault, detected, recovered by the run in time "
    "without a lost write, and undone. Otherwise 1; 5 when the lab could not be brought back; 130 interrupted.",
)
@click.argument("runbook", required=False)
@click.option("--all", "every", is_flag=True, help="All runbooks with all faults that their cards name.")
@click.option(
    "--fault",
    "faults",
    metavar="FAULT",
    multiple=True,
    help="Only this fault; may be given several times. `codeblue lab faults` lists them.",
)
@click.option("--repeat", type=click.IntRange(1, 100), default=1, metavar="N", help="All of it so many times.")
@click.option(
    "--platform",
    type=click.Choice(["host", "kubernetes", "aws"]),
    default="host",
    show_default=True,
    help="Which lab: processes on this machine, a namespace of a cluster, or an account on loopback.",
)
@click.option("--context", metavar="NAME", help="Of the kubeconfig; with --platform kubernetes.")
@click.option("--namespace", metavar="NAME", help="Of the lab on the cluster; likewise. Default: codeblue-lab.")
@click.option("--image", metavar="PREFIX", help="As for `codeblue lab up`; likewise.")
@click.option("--keep", is_flag=True, help="Leave the lab up when it was started for the drill.")
@click.option(
    "--lab-dir",
    type=click.Path(path_type=Path),
    help="The lab's directory. Default: CODEBLUE_LAB_DIR, or below the user's state directory.",
)
@click.option(
    "--report",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write a page and a Markdown file for each drill to DIR, and an index; a name that ends with .md is one file.",
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON lines; the last ones are the drills and the summary.")
def command(
    runbook: str | None,
    every: bool,
    faults: tuple[str, ...],
    repeat: int,
    platform: str,
    context: str | None,
    namespace: str | None,
    image: str | None,
    keep: bool,
    lab_dir: Path | None,
    report: Path | None,
    as_json: bool,
) -> int:
    """Break the lab, run the runbook as an operator would, and measure from outside.

    The lab is started when none is up, and stopped again. Nothing but a lab is ever broken, and it is always healed.

    \b
    codeblue drill database_connection_failure
    codeblue drill database_connection_failure --fault pool_exhausted
    codeblue drill --all --report reports/
    codeblue drill --all --platform kubernetes
    codeblue drill --all --platform aws
    codeblue drill history
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import load_card
    from codeblue.drill.campaign import conduct_all
    from codeblue.drill.render import phase_line, show_report
    from codeblue.output.stream import write_line
    from codeblue.runner.collection import find_runbook, own_runbooks

    if every == bool(runbook):
        raise click.UsageError("Give either a RUNBOOK or --all.")
    if report is not None and not report.absolute().parent.is_dir():
        raise click.UsageError(f"--report: {report.absolute().parent} is no directory.")
    # All of them, whichever is drilled: that the others' criteria are silent belongs to the proof.
    cards = {card.id: card for card in (load_card(each.card_path) for each in own_runbooks())}
    chosen = list(cards.values())
    if runbook is not None:
        card = load_card(find_runbook(runbook, "").card_path)
        chosen = [cards.setdefault(card.id, card)]

    def say(phase: str, text: str) -> None:
        if as_json:
            line = json.dumps({"message_type": "drill_phase", "phase": phase, "text": text})
        else:
            line = phase_line(phase, text, sys.stdout)
        # A reader who leaves ends neither the drill nor its undo.
        write_line(sys.stdout, line)

    if platform != "kubernetes" and (context or namespace or image):
        raise click.UsageError("--context, --namespace and --image go with --platform kubernetes.")
    if platform == "host":
        drills, lab, open_site = _on_hosts(chosen, faults, lab_dir)
    elif platform == "aws":
        drills, lab, open_site = _in_account(chosen, faults, lab_dir)
    else:
        drills, lab, open_site = _on_cluster(chosen, faults, lab_dir, context, namespace, image)
    campaign = conduct_all(drills * repeat, cards, lab, open_site, say, keep=keep)
    _keep_history(campaign, every and not faults, say)
    if report is not None:
        _write_report(campaign, report, say)
    if as_json:
        for message in _messages(campaign):
            write_line(sys.stdout, json.dumps(message))
    else:
        show_report(campaign, sys.stdout)
    return _exit_code(campaign)


def _on_hosts(cards: list[Card], faults: tuple[str, ...], directory: Path | None) -> _Prepared:
    from codeblue.drill.catalogue import choose_drills
    from codeblue.drill.clinic import Clinic
    from codeblue.lab import Lab

    lab = Lab(directory)
    return choose_drills(cards, faults), lab, lambda: Clinic(lab)


def _on_cluster(
    cards: list[Card],
    faults: tuple[str, ...],
    directory: Path | None,
    context: str | None,
    namespace: str | None,
    image: str | None,
) -> _Prepared:
    from codeblue.drill.catalogue import choose_cluster_drills
    from codeblue.drill.cluster_clinic import ClusterClinic
    from codeblue.lab.kubernetes import KubernetesLab

    lab = KubernetesLab(directory, context, namespace, image)
    return choose_cluster_drills(cards, faults), lab, lambda: ClusterClinic(lab)


def _in_account(cards: list[Card], faults: tuple[str, ...], directory: Path | None) -> _Prepared:
    from codeblue.drill.account_clinic import AccountClinic
    from codeblue.drill.catalogue import choose_account_drills
    from codeblue.lab.aws import AwsLab

    lab = AwsLab(directory)
    return choose_account_drills(cards, faults), lab, lambda: AccountClinic(lab)


def _write_report(campaign: Campaign, place: Path, say: Callable[[str, str], None]) -> None:
    from codeblue.drill.pages import write_pages
    from codeblue.drill.render import markdown
    from codeblue.runner.record import open_record

    try:
        if place.suffix == ".md":
            place.write_text(markdown(campaign), encoding="utf-8")
        else:
            place.mkdir(mode=0o700, exist_ok=True)
            place = write_pages(campaign, open_record(), place)
    except OSError as error:
        say("report", f"{place}: {error.strerror}")
        return
    say("report", f"written to {place}")


def _keep_history(campaign: Campaign, every: bool, say: Callable[[str, str], None]) -> None:
    """For the trend; a store that cannot be written does not make a drill fail that is over."""
    from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import open_store
    from codeblue.drill.history import keep

    # What nobody could have used proves no whole clinic.
    real = not any(result.simulated for result in campaign.results)
    try:
        keep(open_store(), campaign, every and real)
    except CodeblueError as error:
        say("history", f"the results are not kept: {error.message}")


def _messages(campaign: Campaign) -> list[dict[str, Any]]:
    return [
        *(result.as_message() for result in campaign.results),
        campaign.matrix.as_message(),
        {
            "message_type": "summary",
            "outcome": campaign.outcome,
            "exit_code": _exit_code(campaign),
            "drills": len(campaign.results),
            "passed": campaign.passed,
            "seconds": round(campaign.seconds, 3),
            "phases": {name: round(seconds, 3) for name, seconds in campaign.phases.items()},
            "time_scale": campaign.time_scale,
            "profile": campaign.profile,
            "facts": campaign.facts,
            "problems": [
                {"runbook": result.drill.runbook, "fault": result.drill.fault, "problem": problem}
                for result in campaign.results
                for problem in result.problems
            ],
        },
    ]


def _exit_code(campaign: Campaign) -> int:
    from codeblue.output.messages import EXIT_CODES

    return EXIT_CODES[campaign.outcome]


command.add_command(history)
command.add_command(record)
