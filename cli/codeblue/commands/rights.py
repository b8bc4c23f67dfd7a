"""`codeblue rights`: what an account has to be allowed in a cluster, or in AWS."""

from __future__ import annotations

import json
import typing as t

import click
from codeblue.runner.options import inventory_option, json_option


@click.command()
@click.argument("playbook")
@inventory_option
@click.option(
    "--platform", type=click.Choice(["kubernetes", "aws"]), default="kubernetes", show_default=True, help="Where."
)
@click.option("-n", "--namespace", "namespaces", multiple=True, help="Bind it there; else those of the inventory.")
@click.option("--to", "subject", metavar="SUBJECT", help="NAMESPACE:SERVICEACCOUNT or a user that gets the rights.")
@click.option("--least", is_flag=True, help="Leave out what a run can do without, and would say that it misses.")
@json_option
def command(
    playbook: str,
    inventory: tuple[str, ...],
    platform: str,
    namespaces: tuple[str, ...],
    subject: str | None,
    least: bool,
    as_json: bool,
) -> int:
    """Print the rights that a runbook or an operation needs: Kubernetes roles as manifests, or an IAM policy.

    Roles are made from what its actions declare. The role without a suffix is for the namespaces of the services, the
    one with -cluster for what lives elsewhere, such as the objects of Flux and Argo CD.

    The IAM policy is made from the operations that its actions may come to, and narrowed to what the inventory names.
    One that is longer than IAM takes is printed as several.

    \b
    codeblue rights authentication_system_down | kubectl apply -f -
    codeblue rights authentication_system_down -i inventory/ --to ops:codeblue | kubectl apply -f -
    codeblue rights security_breach_response -i inventory/ --platform aws > policy.json
    """
    name = playbook.removeprefix("codeblue.recovery.")
    if platform == "aws":
        made = _policies(name, inventory)
        if not as_json:
            click.echo("\n".join(json.dumps(each, indent=2) for each in made))
            return 0
    else:
        made = _roles(name, inventory, list(namespaces), subject, least)
    if as_json:
        click.echo(json.dumps({"message_type": "rights", "playbook": name, "objects": made}))
        click.echo(json.dumps({"message_type": "summary", "exit_code": 0}))
        return 0
    import yaml

    click.echo(yaml.safe_dump_all(made, sort_keys=False, explicit_start=True), nl=False)
    return 0


def _roles(
    name: str, inventory: tuple[str, ...], places: list[str], subject: str | None, least: bool
) -> list[dict[str, t.Any]]:
    from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_rights import bindings, rights_of, roles
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._playbook_actions import actions_of

    made = roles(name.replace("_", "-"), rights_of(actions_of(name)), optional=not least)
    if inventory and not places:
        from codeblue.runner.inventory_services import services_of

        services = services_of(inventory).values()
        places = sorted({each.kubernetes.namespace for each in services if each.kubernetes is not None})
    if subject is not None:
        if not places:
            raise BadInput("no namespace is given to bind the role in", "give -n NAMESPACE, or -i INVENTORY")
        made += bindings(made, places, subject)
    return made


def _policies(name: str, inventory: tuple[str, ...]) -> list[dict[str, t.Any]]:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_calls import operations_of
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_policy import in_parts, policy
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._playbook_actions import actions_of

    actions = actions_of(name)
    platforms = []
    if inventory:
        from codeblue.runner.inventory_services import services_of

        platforms = [each.aws for each in services_of(inventory).values() if each.aws is not None]
    return in_parts(policy(operations_of(actions), platforms, actions))
