# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an AWS service answers when it does not do what it was asked, each as one line for a person.

The codes are those that the services' own models and their lists of common errors name; botocore repeats on the same
ones in its standard mode.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

_LONGEST = 300
# Asked too often. A service that is asked less often answers again. LimitExceededException is not among them: most
# services mean a quota by it.
THROTTLED = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
# The service's own trouble, which passes.
TRANSIENT = frozenset(
    {
        "IDPCommunicationError",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "InternalServiceError",
        "InternalServiceException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServerException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "Unavailable",
    }
)
# The credentials were good once.
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
_WRONG_CREDENTIALS = frozenset(
    {
        "AuthFailure",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "Client.UnauthorizedOperation",
        "NotAuthorized",
        "UnauthorizedAccess",
        "UnauthorizedOperation",
    }
)
# What names no thing that is there, in the words of its service: ClusterNotFoundException, DBInstanceNotFound,
# NoSuchBucket, InvalidGroup.NotFound, ResourceNotFoundFault; HTTP 404 as S3 answers a HEAD.
_MISSING = re.compile(r"(NotFound|NoSuch|DoesNotExist|Unknown(Volume|Snapshot)|^404$)")
# What is there already, or is in no state for it: DBInstanceAlreadyExists, InvalidDBInstanceState, ResourceInUse.
_CONFLICTING = re.compile(
    r"(AlreadyExists|Duplicate|^Invalid\w*State(Fault|Exception)?$|InUse|Conflict|IncorrectState|OperationAborted"
    r"|PreconditionFailed)"
)
# Part of what a message may quote of a request; a key or a token must not come back in an error.
_SECRET = re.compile(r"(A[KS]IA[A-Z0-9]{12,}|[A-Za-z0-9/+=]{40,})")


class AwsError(CodeblueError):
    """The service did not do it, and asking again would not help."""

    #: As the service calls what went wrong.
    code = ""


class NotFound(AwsError):
    """What it is about is not there."""


class Conflict(AwsError):
    """It is there already, or in no state in which this can be done; nothing was changed."""


class AccessDenied(AwsError):
    """The identity has no right to it."""


class BadCredentials(AwsError):
    """The service does not know the credentials, or they have ended."""


class AwsUnavailable(AwsError):
    """No answer came within the time budget.

    :ivar sent: whether what was asked may have been done all the same.
    """

    sent = False


@dataclass(frozen=True)
class Call:
    """One question to a service.

    :param action: as IAM policies name it, as `ecs:UpdateService`.
    :param subject: what it is about, for people; never a value that could be a secret.
    """

    action: str
    region: str
    subject: str = ""

    def __str__(self) -> str:
        about = f" on {self.subject}" if self.subject else ""
        return f"{self.action}{about} in {self.region}"


def error_of(call: Call, code: str, message: str, identity: str = "") -> AwsError:
    """The error that an answer stands for.

    :param code: as the service says it.
    :param message: of the service; keys and tokens in it are left out.
    :param identity: whose credentials these are, for people; empty when unknown.
    """
    error = _error_of(call, code, _one_line(message), identity or "these credentials")
    error.code = code
    return error


def _error_of(call: Call, code: str, said: str, identity: str) -> AwsError:
    if code in EXPIRED:
        return BadCredentials(f"{call}: the credentials of {identity} have ended", "renew them, then resume the run")
    if code in _WRONG_CREDENTIALS:
        return BadCredentials(
            f"{call}: AWS does not accept {identity} ({code})", "look at codeblue_aws.profile and the environment"
        )
    if code in _DENIED:
        return AccessDenied(
            f"{identity} may not {call}", f"allow {call.action} in its IAM policy: codeblue rights RUNBOOK lists all"
        )
    if _MISSING.search(code):
        return NotFound(f"{call}: it is not there ({code}: {said})", "look at codeblue_aws in the inventory")
    if _CONFLICTING.search(code):
        return Conflict(f"{call}: {code}: {said}", "look who else changes it, then run again")
    return AwsError(f"{call} was refused: {code}: {said}", "look at the resource in AWS")


def _one_line(text: str) -> str:
    line = _SECRET.sub("…", " ".join(text.split()))
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "…"
