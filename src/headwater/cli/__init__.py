"""The `headwater` command: one file per verb, loaded when it is used."""

from headwater.cli.main import main

__all__ = ["main"]
