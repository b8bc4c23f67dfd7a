# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""In which order services come back: what others need first, and within that by tier."""

from __future__ import annotations

import difflib
import typing as t
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

# For a service that says nothing: after everything that somebody gave a tier to, before the optional ones.
DEFAULT_TIER = 5


@dataclass(frozen=True)
class Ranked:
    """What the order looks at.

    :param tier: 0 first; orders services that do not depend on each other.
    """

    depends_on: Sequence[str]
    tier: int


def recovery_order(services: Mapping[str, Ranked], targets: Collection[str] | None = None) -> list[list[str]]:
    """Waves of service names. A wave starts when the one before it works; within a wave all go at once.

    Every service is in a later wave than all it depends on, also by way of services that are no targets.
    Services that could share a wave are split by tier, lower first. The order within a wave is by name.

    :param services: all services of the inventory, dependencies of targets included.
    :param targets: the services to recover, all by default. Their dependencies are not added.
    :raises BadInput: a cycle, or a name that no service has.
    """
    wanted = list(services) if targets is None else list(dict.fromkeys(targets))
    for name in wanted:
        if name not in services:
            raise BadInput(f"{name}: is no service of the inventory{_did_you_mean(name, services)}")
    needed = _needed_targets(services, wanted)
    waves: list[list[str]] = []
    done: set[str] = set()
    while len(done) < len(wanted):
        ready = [name for name in wanted if name not in done and needed[name] <= done]
        # The lowest tier alone: a tier 2 service that is ready must not take machines from a tier 0 database.
        first = min(services[name].tier for name in ready)
        wave = sorted(name for name in ready if services[name].tier == first)
        waves.append(wave)
        done.update(wave)
    return waves


def order_of_hosts(names: Sequence[str], hostvars: Mapping[str, Mapping[str, t.Any]]) -> list[list[str]]:
    """The waves of inventory hosts, reading only the two variables that matter of only the hosts that matter.

    :raises BadInput: a cycle, an unknown name, or a variable of the wrong type.
    """
    ranked: dict[str, Ranked] = {}
    to_read = list(names)
    while to_read:
        name = to_read.pop()
        if name in ranked:
            continue
        if name not in hostvars:
            # Left out here, so that the order names it together with whoever needs it.
            continue
        ranked[name] = _ranked(name, hostvars[name])
        to_read += ranked[name].depends_on
    return recovery_order(ranked, names)


def _ranked(name: str, variables: Mapping[str, t.Any]) -> Ranked:
    needs = variables.get("codeblue_depends_on", [])
    tier = variables.get("codeblue_tier", DEFAULT_TIER)
    if isinstance(needs, str) or not isinstance(needs, Sequence):
        raise BadInput(f"{name}: codeblue_depends_on: must be a list of service names")
    text = str(tier).strip()
    if isinstance(tier, bool) or not (text.isascii() and text.isdigit()):
        raise BadInput(f"{name}: codeblue_tier: must be a whole number, 0 first")
    return Ranked(tuple("".join(str(need)) for need in needs), int(text))


def _needed_targets(services: Mapping[str, Ranked], wanted: Sequence[str]) -> dict[str, set[str]]:
    """For every target, the targets that it depends on, directly or by way of others.

    Walks with a stack of its own: a long chain must not end at Python's recursion limit.
    """
    reach: dict[str, set[str]] = {}
    for start in wanted:
        path: list[str] = []
        on_path: set[str] = set()
        stack: list[tuple[str, bool]] = [(start, False)]
        while stack:
            name, leaving = stack.pop()
            if leaving:
                path.pop()
                on_path.discard(name)
                reach[name] = {each for need in services[name].depends_on for each in {need, *reach[need]}}
                continue
            if name in on_path:
                cycle = [*path[path.index(name) :], name]
                raise BadInput(
                    f"{name}: codeblue_depends_on goes in a circle: {' -> '.join(cycle)}",
                    "take one of these dependencies out",
                )
            if name in reach:
                continue
            path.append(name)
            on_path.add(name)
            stack.append((name, True))
            for need in services[name].depends_on:
                if need not in services:
                    raise BadInput(
                        f"{name}: codeblue_depends_on: {need!r} is no service of the inventory"
                        f"{_did_you_mean(need, services)}"
                    )
                stack.append((need, False))
    chosen = set(wanted)
    return {name: reach[name] & chosen for name in wanted}


def _did_you_mean(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {close[0]}?" if close else ""
