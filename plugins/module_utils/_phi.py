# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Finds protected health information in text, says how much and of what kind, and never repeats it.

Identifiers are those of 45 CFR 164.514(b)(2) that have a form: numbers, dates of birth, addresses for mail, telephone
numbers, and names or clinical text in fields that are known to hold them. What has no form, such as a name in the
middle of a sentence, is not found; a site names its own identifiers and fields, which is what logs mostly hold.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

# A line that is longer is looked at in pieces; what lies on the border is in both.
PIECE_CHARACTERS = 64 * 1024
_OVERLAP = 512
_MOST_PATTERNS = 50
_LONGEST_PATTERN = 500
# 64 bits: among a million people the chance of two with the same digest is below one in ten million.
_DIGEST_HEX = 16

_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_DATE = (
    r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}"
    r"|\d{1,2}\.?\s" + _MONTH + r"\s\d{4}|" + _MONTH + r"\s\d{1,2},?\s\d{4})"
)
# The Medicare Beneficiary Identifier has no S, L, O, I, B, Z (cms.gov, "Understanding the MBI format").
_MBI = r"[1-9][AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-?[AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-?[AC-HJKMNP-RT-Y]{2}\d{2}"

# Kind -> form. Kinds further up tell one person from another better; the group `value` is what is masked.
_FORMS: t.Tuple[t.Tuple[str, str], ...] = (
    (
        "mrn",
        r"(?i:\b(?:mrn|medical[ _-]record(?:[ _-](?:no|number))?)\b[\"']?\s*[:=#]?\s*[\"']?)"
        r"(?P<value>[A-Z]{0,3}-?\d{5,10})\b",
    ),
    # 000, 666 and 9xx are no areas, 00 no group, 0000 no serial number (ssa.gov, "SSN randomization").
    ("ssn", r"(?<![\w-])(?P<value>(?!000|666|9)\d{3}(?P<ssn_gap>[- ])(?!00)\d{2}(?P=ssn_gap)(?!0000)\d{4})(?![\w-])"),
    ("ssn", r"(?i:\b(?:ssn|social[ _-]security(?:[ _-](?:no|number))?)\b[\"']?\s*[:=#]?\s*[\"']?)(?P<value>\d{9})\b"),
    ("health_plan", r"\b(?P<value>" + _MBI + r")\b"),
    (
        "health_plan",
        r"(?i:\b(?:insurance|policy|member|medicaid|beneficiary)[ _-]?(?:id|no|number)\b[\"']?\s*[:=#]?\s*[\"']?)"
        r"(?P<value>[A-Z0-9][A-Z0-9-]{5,19})\b",
    ),
    ("email", r"(?P<value>\b[\w.+-]{1,64}(?:@|%40)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}\b)"),
    (
        "phone",
        r"(?<![\w.-])(?P<value>(?:\+1[ .-]?)?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[-. ])[2-9]\d{2}[-. ]\d{4})(?![\w-]|\.\d)",
    ),
    (
        "name",
        r"\b(?:[Pp]atient|Mr|Mrs|Ms|Miss)\.?\s(?P<value>(?!(?:[A-Z][a-z]+\s)?(?:Record|Service|Portal|Data|Id|Intake|Care|List|Search|File)s?\b)"
        r"[A-Z][a-z]+(?:[-'][A-Z][a-z]+)?\s[A-Z][a-z]+(?:[-'][A-Z][a-z]+)?)\b",
    ),
    (
        "date_of_birth",
        r"(?i:\b(?:dob|d\.o\.b\.|date[ _-]of[ _-]birth|birth[ _-]?(?:date|day)|born(?: on)?)\b[\"']?\s*[:=]?\s*[\"']?)"
        r"(?P<value>(?i:" + _DATE + r"))",
    ),
)
# Field -> kind. Fields are compared without regard to case, and `_`, `-` and nothing are the same between words.
_FIELDS: t.Dict[str, str] = {
    **dict.fromkeys(
        (
            "patient_name",
            "first_name",
            "last_name",
            "full_name",
            "given_name",
            "family_name",
            "middle_name",
            "maiden_name",
        ),
        "name",
    ),
    **dict.fromkeys(("date_of_birth", "dob", "birth_date"), "date_of_birth"),
    **dict.fromkeys(("street_address", "home_address", "postal_address"), "address"),
    **dict.fromkeys(
        (
            "diagnosis",
            "diagnoses",
            "clinical_note",
            "medication",
            "medications",
            "allergies",
            "chief_complaint",
            "lab_result",
        ),
        "clinical_text",
    ),
}
# Kinds that tell whose information it is, the best first; a site's own identifiers come before them.
_PERSONS = ("mrn", "ssn", "health_plan", "email", "phone", "name")
_HARMLESS_VALUE = re.compile(
    r"(?i)\A(?:null|none|nil|true|false|n/?a|unknown|redacted|-+|\*+|x{3,}|\.{2,}"
    r"|<[a-z_ ]*>|(?:\[[a-z_ ]*\])+|\([a-z_ ]*\))?\Z"
)
KINDS = ("address", "clinical_text", "date_of_birth", "email", "health_plan", "mrn", "name", "phone", "ssn")


@dataclass(frozen=True)
class Finding:
    """One place in a text.

    :param start: of what is masked, in characters.
    """

    kind: str
    start: int
    end: int


@dataclass
class Tally:
    """What was found, without any of it.

    :param counts: kind -> how many places.
    :param lines: how many lines hold something.
    :param first_lines: numbers of the first of them, from 1.
    :param people: keyed digests, one for each person as far as identifiers tell them apart.
    :param truncated: there are more people than were kept.
    """

    counts: t.Dict[str, int] = field(default_factory=dict)
    lines: int = 0
    lines_read: int = 0
    first_lines: t.List[int] = field(default_factory=list)
    people: t.Set[str] = field(default_factory=set)
    truncated: bool = False

    @property
    def clean(self) -> bool:
        return not self.lines


class PhiDetector:
    """Finds and masks protected health information.

    :param identifiers: the site's own: name -> regular expression. Each tells one person from another.
    :param fields: further field names -> kind.
    :param ignore: regular expressions of values that are no patient's, such as the addresses of a help desk.
    :raises BadInput: an expression is wrong, or there are too many.
    """

    def __init__(
        self,
        identifiers: t.Optional[t.Mapping[str, str]] = None,
        fields: t.Optional[t.Mapping[str, str]] = None,
        ignore: t.Sequence[str] = (),
    ) -> None:
        own = dict(identifiers or {})
        if len(own) + len(ignore) > _MOST_PATTERNS:
            raise BadInput("more than %d patterns of patient data are given" % _MOST_PATTERNS)
        self.own = frozenset(own)
        self.persons = (*own, *_PERSONS)
        self._forms = [(name, _compiled("(?P<value>%s)" % each, name)) for name, each in own.items()]
        self._forms += [(kind, re.compile(form)) for kind, form in _FORMS]
        known = {_spelling(name): kind for name, kind in {**_FIELDS, **(fields or {})}.items()}
        self._fields = known
        self._field = re.compile(_field_form(sorted({**_FIELDS, **(fields or {})}, key=len, reverse=True)))
        self._ignore = [_compiled(each, "ignore") for each in ignore]

    def findings(self, text: str) -> t.List[Finding]:
        """What lies in a text, in its order, without overlaps: the better identifier wins."""
        found: t.List[Finding] = []
        for kind, form in self._forms:
            for match in form.finditer(text):
                self._take(found, kind, match.start("value"), match.end("value"), text)
        for match in self._field.finditer(text):
            kind = self._fields[_spelling(match.group("field"))]
            group = next(name for name in ("escaped", "double", "single", "bare") if match.group(name) is not None)
            self._take(found, kind, match.start(group), match.end(group), text)
        return sorted(found, key=lambda each: each.start)

    def mask(self, text: str) -> str:
        """The text with `[kind]` in place of each finding."""
        parts = []
        position = 0
        for each in self.findings(text):
            parts += [text[position : each.start], "[%s]" % each.kind]
            position = each.end
        return "".join(parts) + text[position:]

    def people_in(self, text: str, findings: t.Sequence[Finding]) -> t.List[t.Tuple[str, str]]:
        """Kind and normalised value of the best identifiers in a text; for digests only."""
        for kind in self.persons:
            values = {_normal(text[each.start : each.end]) for each in findings if each.kind == kind}
            if values:
                # The site's own identifiers all name patients, and access logs call them so too.
                return [("patient" if kind in self.own else kind, value) for value in sorted(values)]
        return []

    def _take(self, found: t.List[Finding], kind: str, start: int, end: int, text: str) -> None:
        value = text[start:end]
        if start == end or _HARMLESS_VALUE.match(value) or any(each.search(value) for each in self._ignore):
            return
        inner = [each for each in found if each.start < end and start < each.end]
        # A field's value swallows what lies wholly in it; everything else that overlaps was found by a better form.
        if any(not (start <= each.start and each.end <= end) for each in inner):
            return
        if inner and not (len(inner) == 1 and (inner[0].start, inner[0].end) == (start, end)):
            for each in inner:
                if each.kind in self.persons:
                    continue
                found.remove(each)
            rest = [each for each in found if each.start < end and start < each.end]
            # Identifiers inside stay, so that people can be told apart; what is around them is masked as well.
            position = start
            for each in sorted(rest, key=lambda one: one.start):
                if position < each.start:
                    found.append(Finding(kind, position, each.start))
                position = each.end
            if position < end:
                found.append(Finding(kind, position, end))
        elif not inner:
            found.append(Finding(kind, start, end))


class Counter:
    """Counts over many lines.

    :param key: of the digests; without it nobody can try out identifiers against them.
    :param most_people: how many digests are kept.
    """

    def __init__(self, detector: PhiDetector, key: bytes, most_people: int = 50000, most_lines: int = 20) -> None:
        self.detector = detector
        self.tally = Tally()
        self._key = key
        self._most_people = most_people
        self._most_lines = most_lines

    def line(self, text: str) -> str:
        """Count one line.

        :returns: the line, masked.
        """
        self.tally.lines_read += 1
        masked, hit = [], False
        for piece, kept_from in _pieces(text):
            findings = [each for each in self.detector.findings(piece) if each.end > kept_from]
            hit = hit or bool(findings)
            for each in findings:
                self.tally.counts[each.kind] = self.tally.counts.get(each.kind, 0) + 1
            for kind, value in self.detector.people_in(piece, findings):
                self._person(kind, value)
            masked.append(_mask_from(piece, findings, kept_from))
        if hit:
            self.tally.lines += 1
            if len(self.tally.first_lines) < self._most_lines:
                self.tally.first_lines.append(self.tally.lines_read)
        return "".join(masked)

    def _person(self, kind: str, value: str) -> None:
        digest = keyed_digest(self._key, kind, value)
        if digest in self.tally.people:
            return
        if len(self.tally.people) >= self._most_people:
            self.tally.truncated = True
        else:
            self.tally.people.add(digest)


def keyed_digest(key: bytes, kind: str, value: str) -> str:
    """What stands for an identifier: the same for the same one, and nothing to who has not got the key."""
    return hmac.new(key, ("%s\0%s" % (kind, _normal(value))).encode(), hashlib.sha256).hexdigest()[:_DIGEST_HEX]


def _normal(value: str) -> str:
    return re.sub(r"[\s._()+-]", "", value).casefold()


def _spelling(name: str) -> str:
    return re.sub(r"[_-]", "", name).casefold()


def _field_form(names: t.Sequence[str]) -> str:
    words = "|".join(
        re.sub(r"[_-]", "[_-]?", re.escape(name).replace(r"\_", "_").replace(r"\-", "-")) for name in names
    )
    return (
        r"(?i)(?<![A-Za-z0-9_])(?P<field>" + words + r")\\*[\"']?\s*[:=]\s*"
        r"(?:\\+\"(?P<escaped>.*?)(?=\\+\")|\"(?P<double>(?:[^\"\\]|\\.)*)|'(?P<single>(?:[^'\\]|\\.)*)"
        r"|(?P<bare>(?:\[[a-z_]+\])+|[^\s,;}\])&\"'\\]+))"
    )


def _compiled(expression: str, name: str) -> t.Pattern[str]:
    if len(expression) > _LONGEST_PATTERN:
        raise BadInput("pattern %s is longer than %d characters" % (name, _LONGEST_PATTERN))
    try:
        compiled = re.compile(expression)
    except re.error as error:
        raise BadInput("pattern %s is no regular expression: %s" % (name, error)) from error
    if compiled.match(""):
        raise BadInput("pattern %s matches an empty text" % name, "write what an identifier looks like")
    return compiled


def _pieces(text: str) -> t.Iterator[t.Tuple[str, int]]:
    """Pieces of a long line, and from where on each is new."""
    start = 0
    while True:
        begin = max(0, start - _OVERLAP)
        yield text[begin : start + PIECE_CHARACTERS], start - begin
        start += PIECE_CHARACTERS
        if start >= len(text):
            return


def _mask_from(piece: str, findings: t.Sequence[Finding], kept_from: int) -> str:
    parts = []
    position = kept_from
    for each in findings:
        parts += [piece[position : max(position, each.start)], "[%s]" % each.kind]
        position = max(position, each.end)
    return "".join(parts) + piece[position:]
