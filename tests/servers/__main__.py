"""Starts the tool: `python tests/servers VERB [NAME]`; see `command.py`."""

import importlib
import sys
from pathlib import Path

# The folder is a package below tests/, however it is started.
sys.path[0] = str(Path(__file__).resolve().parent.parent)
sys.exit(importlib.import_module("servers.command").main())
