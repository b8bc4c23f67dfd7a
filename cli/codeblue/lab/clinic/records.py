"""records: notes about patients, with a suggested urgency from the ai service."""

from __future__ import annotations

import http.client
import json
import random
from pathlib import Path

from clinic_service import Answer, Database, HttpError, Request, Service
from tokens import InvalidToken, Verifier

# Whoever enters a record waits for the suggestion no longer than this.
AI_SECONDS = 0.8

INSERT = "insert into records (patient_ref, note, triage, created_by) values (%s, %s, %s, %s) returning id"
# Waits for whatever keeps an INSERT waiting, and changes nothing.
TRY_TO_WRITE = "insert into records (patient_ref, note, triage, created_by) select '', '', '', '' where false"
SELECT = "select id, patient_ref, note, triage, created_by from records where id = %s"


class Records(Service):
    def __init__(self) -> None:
        super().__init__("records")
        self.verifier = Verifier.from_file(self.config["verification_key_file"])
        self.ai_key = Path(self.config["ai_key_file"]).read_text(encoding="utf-8").strip()
        self.database = Database(self.config["database"], self.log)
        self.dependencies = {"database": self.check_database}
        self.route("POST", "/records", self.create)
        self.route("GET", "/health/write", self.can_write)
        self.route("GET", r"/records/(\d{1,18})", self.read)

    def create(self, request: Request) -> Answer:
        username = self.authenticate(request)
        patient, note = request.text("patient_ref", 100), request.text("note")
        request.audit["patients"] = [patient]
        triage = self.suggest_triage(note)
        with self.database.connection() as connection:
            row = connection.execute(INSERT, (patient, note, triage, username)).fetchone()
        return 201, {"id": row[0], "triage": triage}

    def read(self, request: Request) -> Answer:
        self.authenticate(request)
        with self.database.connection() as connection:
            row = connection.execute(SELECT, (int(request.parameters[0]),)).fetchone()
        if row is None:
            raise HttpError(404, "no such record")
        request.audit["patients"] = [row[1]]
        return 200, dict(zip(("id", "patient_ref", "note", "triage", "created_by"), row, strict=True))

    def authenticate(self, request: Request) -> str:
        if request.bearer is None:
            raise HttpError(401, "a token is needed")
        try:
            request.audit["subject"] = self.verifier.subject(request.bearer)
            return str(request.audit["subject"])
        except InvalidToken as error:
            raise HttpError(401, str(error)) from error

    def suggest_triage(self, note: str) -> str:
        """The model's suggestion; without it a person decides, and the record is kept all the same."""
        if not self.flag("ai_enabled") or random.random() * 100.0 >= self.flag_share("ai_share"):
            return "manual"
        connection = http.client.HTTPConnection(self.config["ai_host"], self.config["ai_port"], timeout=AI_SECONDS)
        try:
            body = json.dumps({"note": note})
            headers = {"Content-Type": "application/json", "X-Api-Key": self.ai_key}
            connection.request("POST", "/predict", body, headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
            return str(answer["triage"]) if response.status == 200 else "manual"
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            self.log.warning("ai does not answer, triage is manual", extra={"fields": {"error": type(error).__name__}})
            return "manual"
        finally:
            connection.close()

    def can_write(self, _request: Request) -> Answer:
        """For monitoring, which wants to know how long a write takes."""
        try:
            with self.database.connection() as connection:
                connection.execute(TRY_TO_WRITE)
        except Exception as error:
            self.log.exception("records cannot be written")
            return 200, {"writable": False, "error": type(error).__name__}
        return 200, {"writable": True}

    def check_database(self) -> None:
        with self.database.connection() as connection:
            connection.execute(SELECT, (0,)).fetchone()


if __name__ == "__main__":
    Records().serve()
