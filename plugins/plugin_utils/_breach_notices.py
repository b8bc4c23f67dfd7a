# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Drafts of the notices of a breach, with all that the system knows filled in and nobody's data in them.

What an individual's notice has to say is in 45 CFR 164.404(c)(1): what happened and when, what kinds of data, what they
should do, what is done about it, whom to ask. `[…]` marks what a person has to add; the compliance officer sends it.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._breach_clock import DUTIES, REQUIRED, Duty, zone_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_breaches import EXERCISE, Breach
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import parse_time

_CAUSES = {
    "public_endpoint": "A change of our software made a page reachable without logging in. It showed data of patients.",
    "phi_in_log": "A change of our software wrote data of patients into a technical log, where it does not belong.",
    "past_disclosure": "A page of our software could be reached without logging in for some time.",
}
_KINDS = {
    "address": "postal address",
    "clinical_text": "notes about treatment",
    "date_of_birth": "date of birth",
    "email": "e-mail address",
    "health_plan": "number of the health plan",
    "mrn": "number of the medical record",
    "name": "name",
    "phone": "telephone number",
    "ssn": "social security number",
}

_INDIVIDUALS = """\
[Name]
[Address]

{{ organisation }} is writing to you about an incident that concerns data about you.

What happened
{{ happened }} This was possible from {{ began }} to {{ ended }}. We found it on {{ discovered }}.

Which data
{% for kind in kinds %}- {{ kind }}
{% endfor %}
What you can do
- Read the statements of your health plan and ask about any service that you did not get.
{% if 'social security number' in kinds %}- You can put a fraud alert or a freeze on your file at the credit bureaus.
{% endif %}- Be careful with calls or messages that mention your treatment, and ask us when in doubt.

What we are doing
{% for each in measures %}- {{ each }}
{% endfor %}
Whom to ask
{% for each in contact %}{{ each }}
{% endfor %}"""

_HHS = """\
Notice to the Secretary of HHS, {{ rule }}. To be entered at https://ocrportal.hhs.gov/ocr/breach.

Breach affecting:            {{ 'fewer than 500' if affected is not none and affected < 500 else '500 or more' }}
Individuals affected:        {{ number }}
Filed by:                    {{ organisation }} ({{ entity }})
Began:                       {{ began }}
Ended:                       {{ ended }}
Discovered:                  {{ discovered }}
Type of breach:              Unauthorized Access/Disclosure
Location of the data:        {{ location }}
Type of data:                {{ kinds | join(', ') }}
Description:                 {{ happened }}
Accessed by:                 {{ accessed }}
Safeguards in place before:  access control, encrypted backups, audit logs [check]
Actions taken:               {{ measures | join(' ') }}
Notices to individuals sent: {{ sent.get('individuals', '[date]') }}
Notice to media required:    {{ 'yes' if media else 'no' }}
Contact:                     {{ contact | join('; ') }}
"""

_MEDIA = """\
For immediate release [city, date]

{{ organisation }} informs of an incident with patient data

{{ happened }} This was possible from {{ began }} to {{ ended }} and was found on {{ discovered }}. It concerns
{{ affected if affected is not none else '[number]' }}{{ ' or more' if least else '' }} people.

Data concerned: {{ kinds | join(', ') }}.

What was done:
{% for each in measures %}- {{ each }}
{% endfor %}
People who may be affected receive a letter. They should read the statements of their health plan and ask about
services that they did not get.

Questions: {{ contact | join('; ') }}
"""

_COVERED_ENTITY = """\
To: {{ covered_entity }}
From: {{ organisation }}, your business associate
Notice of a breach of unsecured protected health information, {{ rule }}

{{ happened }} This was possible from {{ began }} to {{ ended }}; we discovered it on {{ discovered }}.

Individuals:     {{ number }}
Data concerned:  {{ kinds | join(', ') }}
Accessed by:     {{ accessed }}
{% for each in measures %}Done:            {{ each }}
{% endfor %}
The identification of each individual (164.410(c)(1)) follows encrypted, from the evidence of breach {{ breach_id }}.

Contact: {{ contact | join('; ') }}
"""

_TEMPLATES = {"individuals": _INDIVIDUALS, "hhs": _HHS, "media": _MEDIA, "covered_entity": _COVERED_ENTITY}
_EXERCISE = "EXERCISE. Nobody real is affected. Do not send.\n\n"


def notice(breach: Breach, duty: str) -> str:
    """The draft of one notice.

    :raises BadInput: this breach has no such notice.
    """
    known = {each.id: each for each in breach.duties()}
    if duty not in known:
        raise BadInput(
            f"breach {breach.breach_id} has no notice {duty!r}",
            f"one of {', '.join(each for each in DUTIES if each in known)}",
        )
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    text = environment.from_string(_TEMPLATES[duty]).render(_values(breach, known))
    return (_EXERCISE if breach.status == EXERCISE else "") + text


def officer_message(breach: Breach) -> tuple[str, str]:
    """Title and text of the first message to the compliance officer."""
    number = "an unknown number of" if breach.affected is None else str(breach.affected)
    least = "at least " if breach.facts.get("affected_is_least") else ""
    exercise = "EXERCISE: " if breach.status == EXERCISE else ""
    lines = [
        f"Breach: {breach.breach_id}",
        f"Service: {breach.target} ({breach.environment})",
        f"Discovered: {breach.discovered_at}",
        *[f"{each.audience}: by {each.due_on} ({each.rule}), {each.why}" for each in breach.duties() if each.due_on],
        "A breach is presumed until you document a low probability of compromise (45 CFR 164.402(2)).",
        f"codeblue breach show {breach.breach_id}",
    ]
    return f"{exercise}HIPAA: data of {least}{number} people was exposed by {breach.target}", "\n".join(lines)


def factors(breach: Breach) -> list[tuple[str, str]]:
    """The four factors of the risk assessment, 45 CFR 164.402(2)(i) to (iv), with what is known about each."""
    acquired = t.cast("Mapping[str, t.Any]", breach.facts.get("acquired", {}))
    nature = t.cast("Mapping[str, t.Any]", breach.facts.get("nature", {}))
    return [
        ("Nature and extent", f"{', '.join(_kinds(breach))}; {nature.get('log_lines', 0)} lines of logs"),
        ("Who got it", _accessed(breach)),
        (
            "Acquired or viewed",
            f"{acquired.get('answers', 0)} answers were given"
            + (f", {acquired.get('first')} to {acquired.get('last')}" if acquired.get("first") else "")
            + ("" if acquired.get("answers") else "; who read files is not logged"),
        ),
        ("Mitigated", " ".join(_measures(breach))),
    ]


def _values(breach: Breach, duties: Mapping[str, Duty]) -> dict[str, t.Any]:
    facts = breach.facts
    contact = facts.get("contact") or {}
    return {
        "breach_id": breach.breach_id,
        "organisation": facts.get("organisation") or "[organisation]",
        "covered_entity": facts.get("covered_entity") or "[covered entity]",
        "entity": breach.entity.replace("_", " "),
        "rule": next((duties[name].rule for name in ("covered_entity", "hhs") if name in duties), ""),
        "happened": _CAUSES.get(breach.cause, "Data of patients could be seen by people who must not see it."),
        "began": _day(breach, breach.exposure_began_at),
        "ended": _day(breach, breach.exposure_ended_at),
        "discovered": _day(breach, breach.discovered_at),
        "affected": breach.affected,
        "number": _number(breach),
        "least": bool(facts.get("affected_is_least")),
        "kinds": _kinds(breach),
        "location": "Other: application log" if breach.cause == "phi_in_log" else "Network server",
        "accessed": _accessed(breach),
        "measures": _measures(breach),
        "media": "media" in duties and duties["media"].state == REQUIRED,
        "sent": {each.duty: each.sent_at[:10] for each in breach.notices},
        "contact": [f"{name}: {value}" for name, value in contact.items()]
        or ["[toll-free number, e-mail, web, address]"],
    }


def _number(breach: Breach) -> str:
    if breach.affected is None:
        return "[not known yet]"
    return f"{breach.affected}{' (at least)' if breach.facts.get('affected_is_least') else ''}"


def _day(breach: Breach, moment: str | None) -> str:
    if moment is None:
        return "[not known yet]"
    try:
        return parse_time(moment).astimezone(zone_of(breach.time_zone)).strftime("%B %-d, %Y")
    except ValueError:
        # Times out of an access log have fewer digits; the day is what counts here.
        return moment[:10]


def _kinds(breach: Breach) -> list[str]:
    nature = breach.facts.get("nature") or {}
    found = [_KINDS.get(kind, kind.replace("_", " ")) for kind in (nature.get("identifiers") or {})]
    return found or [name.replace("_", " ") for name in nature.get("named_fields") or []] or ["[kinds of data]"]


def _accessed(breach: Breach) -> str:
    recipients = breach.facts.get("recipients") or {}
    accessors = recipients.get("accessors") or []
    if not accessors:
        return str(recipients.get("log_readers") or "nobody, as far as access logs tell")
    networks = ", ".join(sorted({str(each["network"]) for each in accessors}))
    unknown = sum(1 for each in accessors if not each["authenticated"])
    return f"{len(accessors) + int(recipients.get('more') or 0)} accessors, {unknown} of them unknown, from {networks}"


def _measures(breach: Breach) -> list[str]:
    mitigation = breach.facts.get("mitigation") or {}
    found = []
    if mitigation.get("pages_refused"):
        found.append("The page was closed.")
    if mitigation.get("logs_closed_on"):
        found.append("The log was closed and the data removed from it.")
    if mitigation.get("ways_closed"):
        found.append("The way in from outside was closed.")
    if mitigation.get("releases"):
        found.append("The change was taken back.")
    if breach.exposure_ended_at:
        found.append("It was proven that nothing is exposed any more.")
    return [*found, "What happened is kept as evidence and is being looked into."]
