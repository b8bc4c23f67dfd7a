# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who has to be told of a breach of unsecured protected health information, and by when. Pure: no clock is read here.

45 CFR part 164, subpart D (Breach Notification Rule). "Without unreasonable delay and in no case later than 60 calendar
days after discovery" (164.404(b)): what is computed here is the last day, not the day to aim for. Days are counted in
the organisation's own time zone, the day of discovery is not counted, and the last day counts whole.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

# 164.404(b), 164.406(b), 164.408(c), 164.410(b).
NOTICE_DAYS = 60
# 164.406(a): more than so many residents of one State or jurisdiction. 164.408(b): so many individuals or more.
MEDIA_MORE_THAN = 500
HHS_AT_ONCE_FROM = 500
# 164.316(b)(2)(i), 164.530(j)(2): from when it was made, or when it was last in effect, whichever is later.
RETENTION_YEARS = 6
# 164.412(b): without a written statement of the law enforcement official, no longer than this.
ORAL_DELAY_DAYS = 30

ENTITIES = ("covered_entity", "business_associate")
DUTIES = ("individuals", "hhs", "media", "covered_entity")
REQUIRED, NOT_REQUIRED = "required", "not_required"


@dataclass(frozen=True)
class Duty:
    """One notice.

    :param due_on: the last day, in the organisation's time zone; None when it is not required.
    :param due_at: the end of that day.
    """

    id: str
    rule: str
    audience: str
    state: str
    why: str
    due_on: date | None = None
    due_at: datetime | None = None


def zone_of(name: str) -> ZoneInfo:
    """:raises BadInput: there is no such time zone."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise BadInput(f"time zone {name!r} is not known", "write it like America/New_York") from None


def last_day(discovered_at: datetime, zone: ZoneInfo) -> date:
    """The 60th calendar day after the day of discovery."""
    return discovered_at.astimezone(zone).date() + timedelta(days=NOTICE_DAYS)


def last_day_after_the_year(discovered_at: datetime, zone: ZoneInfo) -> date:
    """The 60th calendar day after the end of the year of discovery: 1 March, or 29 February in a leap year."""
    return date(discovered_at.astimezone(zone).year, 12, 31) + timedelta(days=NOTICE_DAYS)


def end_of(day: date, zone: ZoneInfo) -> datetime:
    """The moment at which a day is over there; a day may have 23 or 25 hours."""
    return datetime.combine(day + timedelta(days=1), time(0), zone).astimezone(UTC)


def retain_until(moment: datetime, zone: ZoneInfo) -> date:
    """Six years later; what began on 29 February ends on 1 March."""
    day = moment.astimezone(zone).date()
    try:
        return day.replace(year=day.year + RETENTION_YEARS)
    except ValueError:
        return date(day.year + RETENTION_YEARS, 3, 1)


def duties(
    discovered_at: datetime,
    zone: ZoneInfo,
    entity: str,
    affected: int | None,
    residents: Mapping[str, int] | None = None,
    delayed_until: date | None = None,
) -> tuple[Duty, ...]:
    """The notices that are due.

    :param affected: how many individuals; None while nobody knows, which is treated as many.
    :param residents: State or jurisdiction -> how many of them live there; without it all live in one.
    :param delayed_until: law enforcement asked for a delay up to this day (164.412).
    :raises BadInput: the entity is unknown, or a time has no time zone.
    """
    if entity not in ENTITIES:
        raise BadInput(f"entity {entity!r} is unknown", f"one of {', '.join(ENTITIES)}")
    if discovered_at.tzinfo is None:
        raise BadInput("the time of discovery has no time zone")
    within_60 = last_day(discovered_at, zone)

    def required(name: str, rule: str, audience: str, why: str, day: date) -> Duty:
        day = max(day, delayed_until) if delayed_until is not None else day
        return Duty(name, rule, audience, REQUIRED, why, day, end_of(day, zone))

    if entity == "business_associate":
        why = "a business associate tells the covered entity, which tells everybody else"
        return (required("covered_entity", "45 CFR 164.410", "the covered entity", why, within_60),)
    if affected == 0:
        none = "nobody is affected, as far as was counted"
        return tuple(
            Duty(name, rule, audience, NOT_REQUIRED, none)
            for name, rule, audience in (
                ("individuals", "45 CFR 164.404", "each individual affected"),
                ("hhs", "45 CFR 164.408", "the Secretary of HHS"),
                ("media", "45 CFR 164.406", "prominent media outlets"),
            )
        )
    return (
        required(
            "individuals", "45 CFR 164.404", "each individual affected", "every breach of unsecured PHI", within_60
        ),
        _hhs(affected, within_60, last_day_after_the_year(discovered_at, zone), required),
        _media(affected, residents or {}, within_60, required),
    )


_Required = t.Callable[[str, str, str, str, date], Duty]


def _hhs(affected: int | None, within_60: date, after_the_year: date, required: _Required) -> Duty:
    audience = "the Secretary of HHS"
    if affected is None:
        return required("hhs", "45 CFR 164.408(b)", audience, "how many are affected is not known yet", within_60)
    if affected >= HHS_AT_ONCE_FROM:
        return required("hhs", "45 CFR 164.408(b)", audience, f"{affected} individuals: with their notices", within_60)
    why = f"{affected} individuals, fewer than {HHS_AT_ONCE_FROM}: by the log of the year"
    return required("hhs", "45 CFR 164.408(c)", audience, why, after_the_year)


def _media(affected: int | None, residents: Mapping[str, int], within_60: date, required: _Required) -> Duty:
    rule, audience = "45 CFR 164.406", "prominent media outlets"
    over = sorted(name for name, number in residents.items() if number > MEDIA_MORE_THAN)
    # Those whom nobody has placed yet may all live in one place, together with those who are known to live there.
    unplaced = None if affected is None else max(0, affected - sum(residents.values()))
    most = max(residents.values(), default=0)
    if over:
        return required(
            "media", rule, audience, f"more than {MEDIA_MORE_THAN} residents of {', '.join(over)}", within_60
        )
    if unplaced is None:
        return required("media", rule, audience, "how many are affected is not known yet", within_60)
    if most + unplaced > MEDIA_MORE_THAN:
        why = f"more than {MEDIA_MORE_THAN}, and where {unplaced} of them live is not recorded"
        return required("media", rule, audience, why, within_60)
    return Duty("media", rule, audience, NOT_REQUIRED, f"no State with more than {MEDIA_MORE_THAN} affected residents")
