"""An error in the form in which each protocol of AWS's services gives it."""

from __future__ import annotations

import json
import re
import typing as t
from html import escape

_JSON_ERROR = re.compile(rb'"__type"\s*:\s*"(?:[^"#]*#)?([A-Za-z0-9.]+)"')
_XML_ERROR = re.compile(rb"<Code>([A-Za-z0-9.]+)</Code>")

Answer = tuple[int, list[tuple[str, str]], bytes]


def refusal(service: str, environ: t.Mapping[str, t.Any], status: int, code: str, message: str) -> Answer:
    """The answer of a service that refuses.

    :param service: as it signs.
    """
    if "/operation/" in environ.get("PATH_INFO", ""):
        body = b"\xa2" + _cbor("__type") + _cbor(code) + _cbor("message") + _cbor(message)
        return status, [("Content-Type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor")], body
    if "HTTP_X_AMZ_TARGET" in environ or service == "lambda":
        text = json.dumps({"__type": code, "message": message})
        return status, [("Content-Type", "application/x-amz-json-1.1"), ("x-amzn-errortype", code)], text.encode()
    inner = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
    if service == "s3":
        text = f"<Error>{inner}<RequestId>lab</RequestId></Error>"
    elif service == "ec2":
        text = f"<Response><Errors><Error>{inner}</Error></Errors><RequestID>lab</RequestID></Response>"
    else:
        text = f"<ErrorResponse><Error><Type>Sender</Type>{inner}</Error><RequestId>lab</RequestId></ErrorResponse>"
    return status, [("Content-Type", "text/xml")], text.encode()


def error_code(status: int, headers: t.Sequence[tuple[str, str]], body: bytes) -> str:
    """What an answer calls its error; empty for none."""
    if status < 400:
        return ""
    named = next((value for name, value in headers if name.lower() == "x-amzn-errortype"), "")
    if named:
        return named.rpartition("#")[2]
    found = _JSON_ERROR.search(body) or _XML_ERROR.search(body)
    return found[1].decode() if found else f"HTTP {status}"


def _cbor(text: str) -> bytes:
    """A text of less than 65,536 bytes, as RFC 8949 writes it."""
    data = text.encode()
    if len(data) < 24:
        return bytes([0x60 + len(data)]) + data
    if len(data) < 256:
        return bytes([0x78, len(data)]) + data
    return b"\x79" + len(data).to_bytes(2, "big") + data
