# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What was found of one thing that a service needs in a region."""

from __future__ import annotations

from dataclasses import dataclass

#: The acceptance that a person must give before traffic moves to what is not fit for it.
UNFIT = "unfit_standby"


@dataclass(frozen=True)
class Fitness:
    """One thing.

    :param what: for people.
    :param said: how it is, or why it is not fit.
    :param acceptance: by which a person takes it as it is.
    """

    what: str
    fit: bool
    said: str
    acceptance: str = UNFIT

    def __str__(self) -> str:
        return f"{self.what} {self.said}"

    def told(self) -> dict[str, str | bool]:
        """For results."""
        return {"what": self.what, "fit": self.fit, "said": self.said}


def fit(what: str, said: str) -> Fitness:
    """It is as it must be."""
    return Fitness(what, True, said)


def unfit(what: str, said: str, acceptance: str = UNFIT) -> Fitness:
    """It is not."""
    return Fitness(what, False, said, acceptance)
