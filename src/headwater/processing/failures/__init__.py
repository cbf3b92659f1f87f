"""Events that a job could not process: error events about them, their groups by cause, and their redrive."""
