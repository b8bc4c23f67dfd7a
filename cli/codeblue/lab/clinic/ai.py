"""ai: suggests how urgent a note is, by a logistic regression that was trained when the release was made.

Who calls it has an API key. A file for each caller holds the keys that are accepted, one a line; it is read anew for
each request.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

from clinic_service import Answer, HttpError, Request, Service
from triage_model import probability

MODEL = Path(__file__).parent / "model.json"


class Ai(Service):
    def __init__(self) -> None:
        super().__init__("ai")
        self.weights = load_model()
        self.dependencies = {"model": self.check_model}
        self.route("POST", "/predict", self.predict)
        self.route("GET", "/caller", lambda request: (200, {"caller": self.caller(request)}))

    def caller(self, request: Request) -> str:
        """By the key that came with the request."""
        given = hashlib.sha256((request.api_key or "").encode()).digest()
        for name, path in self.config["api_keys"].items():
            for accepted in Path(path).read_text(encoding="utf-8").split():
                if hmac.compare_digest(hashlib.sha256(accepted.encode()).digest(), given):
                    return str(name)
        raise HttpError(401, "an API key is needed")

    def predict(self, request: Request) -> Answer:
        self.caller(request)
        if not self.flag("ai_enabled"):
            raise HttpError(503, "switched off by flag")
        urgent = probability(self.weights, request.text("note"))
        triage = "urgent" if urgent >= 0.7 else "soon" if urgent >= 0.4 else "routine"
        return 200, {"triage": triage, "probability": round(urgent, 4)}

    def check_model(self) -> None:
        """The file is what was released, and the model still tells an emergency from routine."""
        weights = load_model()
        if not probability(weights, "severe chest pain") > probability(weights, "routine follow-up"):
            raise ValueError("the model gives nonsense")


def load_model() -> dict[str, float]:
    content = MODEL.read_bytes()
    expected = MODEL.with_suffix(".json.sha256").read_text(encoding="ascii").split()[0]
    if hashlib.sha256(content).hexdigest() != expected:
        raise ValueError("model.json differs from the released one")
    return {str(word): float(weight) for word, weight in json.loads(content)["weights"].items()}


if __name__ == "__main__":
    Ai().serve()
