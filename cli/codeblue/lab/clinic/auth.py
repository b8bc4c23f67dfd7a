"""auth: people log in with a password and get a signed token."""

from __future__ import annotations

import hashlib
import hmac

from clinic_service import Answer, Database, HttpError, Request, Service
from tokens import InvalidToken, Signer, Verifier

FIND_ACCOUNT = "select username, password_hash from accounts where username = %s"


class Auth(Service):
    def __init__(self) -> None:
        super().__init__("auth")
        self.signer = Signer(self.config["signing_key_file"])
        self.verifier = Verifier.from_file(self.config["verification_key_file"])
        self.database = Database(self.config["database"], self.log)
        self.dependencies = {"database": self.check_database, "signing_key": self.check_signing_key}
        self.route("POST", "/login", self.login)
        self.route("POST", "/verify", self.verify)

    def login(self, request: Request) -> Answer:
        username, password = request.text("username", 100), request.text("password", 200)
        with self.database.connection() as connection:
            account = connection.execute(FIND_ACCOUNT, (username,)).fetchone()
        if account is None or not matches(password, account[1]):
            raise HttpError(401, "username or password is wrong")
        return 200, {"token": self.signer.issue(account[0])}

    def verify(self, request: Request) -> Answer:
        try:
            return 200, {"username": self.verifier.subject(request.text("token"))}
        except InvalidToken as error:
            raise HttpError(401, str(error)) from error

    def check_database(self) -> None:
        with self.database.connection() as connection:
            connection.execute(FIND_ACCOUNT, ("nobody",)).fetchone()

    def check_signing_key(self) -> None:
        self.signer.verifier.subject(self.signer.issue("health"))


def matches(password: str, stored: str) -> bool:
    _, n, r, p, salt, digest = stored.split("$")
    found = hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), n=int(n), r=int(r), p=int(p))
    return hmac.compare_digest(found.hex(), digest)


if __name__ == "__main__":
    Auth().serve()
