"""The table of patients' records: synthetic content, digests of every row, and the rules by which damage is known.

The digests stand for what a hospital has in some form: checksums that a trigger keeps, which a change past the trigger
does not renew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

KNOWN_RECORDS = 200

RECORDS_TABLE = """
create table records (
    id bigint generated always as identity primary key,
    patient_ref text not null,
    note text not null,
    triage text not null check (triage <> ''),
    created_by text not null,
    created_at timestamptz not null default clock_timestamp()
);
create table record_digests (
    id bigint primary key,
    digest text not null
);
create or replace function record_digest(patient_ref text, note text, triage text, created_by text) returns text
    language sql immutable parallel safe
    return encode(sha256(convert_to(concat_ws(chr(31), patient_ref, note, triage, created_by), 'UTF8')), 'hex');
create or replace function keep_record_digest() returns trigger
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    if tg_op = 'DELETE' then
        delete from record_digests where id = old.id;
        return old;
    end if;
    insert into record_digests values (new.id, record_digest(new.patient_ref, new.note, new.triage, new.created_by))
        on conflict (id) do update set digest = excluded.digest;
    return new;
end $$;
create trigger keep_digest after insert or update or delete on records
    for each row execute function keep_record_digest();
grant select, insert on records to records_app;
grant select on records, record_digests to reporting;
grant select, update on records to billing;
"""

SYNTHETIC_RECORDS = f"""
insert into records (patient_ref, note, triage, created_by)
select 'synthetic-' || lpad((n % 60 + 1)::text, 4, '0'),
       (array['Follow-up after discharge', 'Blood pressure under observation', 'Vaccination given',
              'Results of the laboratory reviewed', 'Referred to physiotherapy'])[n % 5 + 1] || ', visit ' || n,
       (array['routine', 'routine', 'soon', 'routine', 'urgent'])[n % 5 + 1],
       'dr.example'
from generate_series(1, {KNOWN_RECORDS}) n;
"""

_TABLES = ["records", "record_digests"]
_KNOWN_CONTENT = (
    f"SELECT count(*) FROM generate_series(1, {KNOWN_RECORDS}) n LEFT JOIN records r ON r.id = n"
    " WHERE r.note IS NULL OR r.note NOT LIKE '%, visit ' || n"
)
_DIGESTS = (
    "SELECT count(*) FROM records r FULL JOIN record_digests d ON d.id = r.id"
    " WHERE d.digest IS DISTINCT FROM record_digest(r.patient_ref, r.note, r.triage, r.created_by)"
)

#: As the inventory gives them: `codeblue_host.postgresql.integrity`.
INTEGRITY_RULES: list[dict[str, Any]] = [
    {"id": "records_there", "tables": ["records"], "minimum_rows": KNOWN_RECORDS},
    {"id": "records_known_content", "tables": ["records"], "violations": _KNOWN_CONTENT},
    {"id": "records_digests", "tables": _TABLES, "violations": _DIGESTS},
    {"id": "records_constraints", "tables": ["records"], "constraints": True},
    {"id": "records_readable", "tables": _TABLES, "readable": True},
]
#: What the site's monitoring asks. It is told a number, never a row.
MONITORED = [_KNOWN_CONTENT, _DIGESTS]


def known_record(number: int) -> dict[str, str]:
    """What the synthetic record of a number holds; the same as `SYNTHETIC_RECORDS` makes."""
    kind = number % 5
    notes = (
        "Follow-up after discharge",
        "Blood pressure under observation",
        "Vaccination given",
        "Results of the laboratory reviewed",
        "Referred to physiotherapy",
    )
    return {
        "patient_ref": f"synthetic-{number % 60 + 1:04d}",
        "note": f"{notes[kind]}, visit {number}",
        "triage": ("routine", "routine", "soon", "routine", "urgent")[kind],
    }


def create_records(connection: psycopg.Connection) -> None:
    """Make the table and its content."""
    connection.execute(RECORDS_TABLE)
    connection.execute(SYNTHETIC_RECORDS)


def restore_records(connection: psycopg.Connection) -> bool:
    """Make the table anew when its content is damaged; False when it is whole."""
    import psycopg

    try:
        if all(connection.execute(query).fetchone() == (0,) for query in MONITORED):
            return False
    except psycopg.Error as error:
        if error.sqlstate not in ("42P01", "42883", "XX001", "XX002"):
            raise
    connection.execute("drop table if exists records, record_digests cascade")
    create_records(connection)
    return True
