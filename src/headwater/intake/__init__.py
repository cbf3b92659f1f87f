"""The one way into the log: the Gate validates every event, and the Intake stores what it admits."""

from headwater.intake.gate import Gate, GateSettings
from headwater.intake.intake import Intake
from headwater.intake.outcome import Accepted, Admitted, Failed, Refused

__all__ = ["Accepted", "Admitted", "Failed", "Gate", "GateSettings", "Intake", "Refused"]
