"""Routes whose names may hold every character there is."""

from __future__ import annotations

import re
from typing import Any

from starlette import routing


class Route(routing.Route):
    """Starlette's route, whose `{name:path}` also takes line breaks, and gives them to the endpoint."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # `.` leaves out line breaks, and `$` also fits before the last of them.
        self.path_regex = re.compile(self.path_regex.pattern.removesuffix("$") + r"\Z", re.DOTALL)
