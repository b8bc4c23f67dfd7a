"""`codeblue rights`: what an account has to be allowed in a cluster."""

from __future__ import annotations

import json

import click
from codeblue.runner.options import inventory_option, json_option


@click.command()
@click.argument("playbook")
@inventory_option
@click.option("-n", "--namespace", "namespaces", multiple=True, help="Bind it there; else those of the inventory.")
@click.option("--to", "subject", metavar="SUBJECT", help="NAMESPACE:SERVICEACCOUNT or a user that gets the rights.")
@click.option("--least", is_flag=True, help="Leave out what a run can do without, and would say that it misses.")
@json_option
def command(
    playbook: str,
    inventory: tuple[str, ...],
    namespaces: tuple[str, ...],
    subject: str | None,
    least: bool,
    as_json: bool,
) -> int:
    """Print the Kubernetes roles that a runbook or an operation needs, as manifests.

    They are made from what its actions declare. The role without a suffix is for the namespaces of the services, the
    one with -cluster for what lives elsewhere, such as the objects of Flux and Argo CD.

    \b
    codeblue rights authentication_system_down | kubectl apply -f -
    codeblue rights authentication_system_down -i inventory/ --to ops:codeblue | kubectl apply -f -
    """
    from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_rights import bindings, rights_of, roles
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._playbook_actions import actions_of

    name = playbook.removeprefix("codeblue.recovery.")
    made = roles(name.replace("_", "-"), rights_of(actions_of(name)), optional=not least)
    places = list(namespaces)
    if inventory and not places:
        from codeblue.runner.inventory_services import services_of

        services = services_of(inventory).values()
        places = sorted({each.kubernetes.namespace for each in services if each.kubernetes is not None})
    if subject is not None:
        if not places:
            raise BadInput("no namespace is given to bind the role in", "give -n NAMESPACE, or -i INVENTORY")
        made += bindings(made, places, subject)
    if as_json:
        click.echo(json.dumps({"message_type": "rights", "playbook": name, "objects": made}))
        click.echo(json.dumps({"message_type": "summary", "exit_code": 0}))
        return 0
    import yaml

    click.echo(yaml.safe_dump_all(made, sort_keys=False, explicit_start=True), nl=False)
    return 0
