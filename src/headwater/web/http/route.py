"""Routes whose path parameters may contain any character."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from starlette import routing
from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.requests import Request

from headwater.web.http.threads import apart


class _Revision(IntegerConvertor):
    """A number in a path, with no more digits than Python can read or a revision can have."""

    regex = "[0-9]{1,18}"


register_url_convertor("revision", _Revision())


class Route(routing.Route):
    """Starlette's route, whose `{name:path}` also matches line breaks and passes them to the endpoint.

    An endpoint that is a plain function is called in a thread, see `threads`.
    """

    def __init__(self, path: str, endpoint: Callable[[Request], Any], **options: Any) -> None:
        super().__init__(path, endpoint if inspect.iscoroutinefunction(endpoint) else apart(endpoint), **options)
        # `.` does not match line breaks, and `$` also matches before the last one.
        self.path_regex = re.compile(self.path_regex.pattern.removesuffix("$") + r"\Z", re.DOTALL)
