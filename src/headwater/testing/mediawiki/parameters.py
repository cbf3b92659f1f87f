"""The parameters of a request to the Action API, read as MediaWiki reads them."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Collection, Mapping

from headwater.testing.mediawiki.exchange import ApiRefusal, Request

PARAMETERS_MAX = 1_000
FORM_BYTES_MAX = 1_048_576
# MediaWiki takes lists separated by this character, too, and says so by beginning with it.
UNIT_SEPARATOR = "\x1f"
FORM = "application/x-www-form-urlencoded"
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}\Z")


def parameters_of(request: Request) -> dict[str, str]:
    """Those of the query and of a form in the body; of a repeated one the last.

    :raises ApiRefusal: there are too many, or the body is not a form.
    """
    try:
        pairs = urllib.parse.parse_qsl(request.query, keep_blank_values=True, max_num_fields=PARAMETERS_MAX)
        if request.body:
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != FORM:
                raise unserved(f"a body of type {kind or 'none'}", f"send {FORM}")
            if len(request.body) > FORM_BYTES_MAX:
                raise unserved(f"a form of more than {FORM_BYTES_MAX} bytes", "ask for less")
            body = request.body.decode("utf-8", "replace")
            pairs += urllib.parse.parse_qsl(body, keep_blank_values=True, max_num_fields=PARAMETERS_MAX)
    except ValueError:
        raise unserved(f"more than {PARAMETERS_MAX} parameters", "send fewer") from None
    return dict(pairs)


def unserved(what: str, remedy: str) -> ApiRefusal:
    """What real wikis answer and the stand-in does not: an error of its own, so that nobody takes it for an answer."""
    return ApiRefusal("unserved-by-stand-in", f"The stand-in does not serve {what}: {remedy}.")


def as_integer(text: str) -> int | None:
    """A whole number as the API takes it, or None."""
    return int(text) if _INTEGER.match(text) else None


def position(text: str | None, parts: int) -> tuple[int, ...] | None:
    """Where an answer continues: so many whole numbers with `|` between them; None where it is to begin.

    :raises ApiRefusal: `badcontinue`.
    """
    if text is None:
        return None
    numbers = [number for part in text.split("|") if (number := as_integer(part)) is not None]
    if len(numbers) != parts or text.count("|") != parts - 1:
        info = "Invalid continue param. You should pass the original value returned by the previous query."
        raise ApiRefusal("badcontinue", info)
    return tuple(numbers)


def split(text: str) -> list[str]:
    """The members of a list: separated by `|`, or by U+001F where the text begins with it."""
    if not text:
        return []
    return text[1:].split(UNIT_SEPARATOR) if text.startswith(UNIT_SEPARATOR) else text.split("|")


class Parameters:
    """The parameters of one request, and the warnings its answer is to have, by module."""

    def __init__(self, values: Mapping[str, str], *, many: int, many_with_rights: int, has_rights: bool) -> None:
        self._values = values
        self._many = many
        self._many_with_rights = many_with_rights
        self._has_rights = has_rights
        self.warnings: dict[str, list[str]] = {}

    @property
    def most(self) -> int:
        """How many values a list may have, and how many revisions with content an answer."""
        return self._many_with_rights if self._has_rights else self._many

    def warn(self, module: str, text: str) -> None:
        """Have the answer say so under the module's name."""
        self.warnings.setdefault(module, []).append(text)

    def names(self) -> Collection[str]:
        """Every parameter that was sent."""
        return self._values.keys()

    def has(self, name: str) -> bool:
        """Whether it was sent, even empty."""
        return name in self._values

    def text(self, name: str) -> str | None:
        """As it was sent; None where it was not."""
        return self._values.get(name)

    def several(self, name: str) -> list[str]:
        """The members of a list; none where it was not sent.

        :raises ApiRefusal: `toomanyvalues`.
        """
        members = split(self._values.get(name, ""))
        if len(members) > self.most:
            extra = {
                "parameter": name,
                "limit": self.most,
                "lowlimit": self._many,
                "highlimit": self._many_with_rights,
            }
            info = f'Too many values supplied for parameter "{name}". The limit is {self.most}.'
            raise ApiRefusal("toomanyvalues", info, extra=extra)
        return members

    def known(self, name: str, default: str, choices: Collection[str], *, module: str) -> list[str]:
        """The members of a list that are among the choices; the answer warns of others, and `*` is all of them."""
        members = self.several(name) if self.has(name) else split(default)
        if "*" in members:
            return list(choices)
        unknown = [member for member in members if member not in choices]
        if unknown:
            values = "values" if len(unknown) > 1 else "value"
            self.warn(module, f'Unrecognized {values} for parameter "{name}": {", ".join(unknown)}.')
        return [member for member in dict.fromkeys(members) if member in choices]

    def integers(self, name: str) -> list[int]:
        """The members of a list of whole numbers, each once.

        :raises ApiRefusal: `badinteger`, `toomanyvalues`.
        """
        found = []
        for member in self.several(name):
            number = as_integer(member)
            if number is None:
                raise ApiRefusal("badinteger", f'Invalid value "{member}" for integer parameter "{name}".')
            found.append(number)
        return list(dict.fromkeys(found))

    def integer(self, name: str) -> int | None:
        """A whole number; None where it was not sent.

        :raises ApiRefusal: `badinteger`.
        """
        text = self._values.get(name)
        if text is None:
            return None
        number = as_integer(text)
        if number is None:
            raise ApiRefusal("badinteger", f'Invalid value "{text}" for integer parameter "{name}".')
        return number

    def choice(self, name: str, choices: Collection[str], default: str | None = None) -> str:
        """One of the choices.

        :raises ApiRefusal: `badvalue`, or `missingparam` where there is no default.
        """
        text = self._values.get(name, default)
        if text is None:
            raise ApiRefusal("missingparam", f'The "{name}" parameter must be set.')
        if text not in choices:
            raise ApiRefusal("badvalue", f'Unrecognized value for parameter "{name}": {text}.')
        return text

    def limit(self, name: str, most: int, *, module: str, default: int = 10) -> int:
        """How many an answer is to have, from 1 to `most`; `max` is `most`, and the answer warns of what is beyond.

        :raises ApiRefusal: `badinteger`.
        """
        if self._values.get(name) == "max":
            return most
        asked = self.integer(name)
        if asked is None:
            return min(default, most)
        if not 1 <= asked <= most:
            self.warn(module, f'The value "{asked}" for parameter "{name}" must be between 1 and {most}.')
        return min(max(asked, 1), most)
