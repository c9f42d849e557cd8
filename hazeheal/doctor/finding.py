"""One line of what the doctor says."""

import dataclasses

OK, NOTE, PROBLEM = "ok", "note", "problem"


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was looked at and how it is.

    Attributes:
        name: Of what was looked at; stays the same between versions.
        state: `ok`; `note`: works, but may be slower or lack something; `problem`: training will not work so.
        text: What was found.
        advice: What to do; "" where there is nothing to be done.
    """

    name: str
    state: str
    text: str
    advice: str = ""

    def __post_init__(self):
        if self.state not in (OK, NOTE, PROBLEM) or (self.state == PROBLEM and not self.advice):
            raise ValueError(f"{self} has no such state, or a problem without advice")

    def line(self) -> str:
        advice = f"; {self.advice}" if self.advice else ""
        return f"{self.state:7}  {self.name:15}  {self.text}{advice}"
