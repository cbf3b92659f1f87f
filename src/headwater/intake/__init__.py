"""The one door into the log: the Gate judges every event, and the Intake makes what it admitted durable."""

from headwater.intake.gate import Gate, GateSettings
from headwater.intake.intake import Intake
from headwater.intake.outcome import Accepted, Admitted, Failed, Refused

__all__ = ["Accepted", "Admitted", "Failed", "Gate", "GateSettings", "Intake", "Refused"]
