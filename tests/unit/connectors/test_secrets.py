"""What a driver says leaves a connector without its secrets, whatever form it says them in."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.connectors.secrets import Secrets
from headwater.errors import EventMalformed, SinkUnavailable, WriteIncomplete
from headwater.foreign import stack_of

PASSWORD = "hunter2 & 'more'"
DSNS = [
    PASSWORD,
    f"postgresql://writer:{quote(PASSWORD, safe='')}@db.example:5432/wiki",
    "host=db.example user=writer password=plain-secret dbname=wiki",
    "Server=db;Pwd=plain-secret;Database=wiki",
]


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        if cause is None:
            raise error
        raise error from cause
    except BaseException as one:
        return one


class DriverError(Exception):
    """Of a driver, with the address in attributes of its own."""

    def __init__(self, text: str) -> None:
        super().__init__("could not connect")
        self.dsn = text


class StubbornError(Exception):
    """Its text is made when it is asked for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._made = lambda: text

    def __str__(self) -> str:
        return self._made()


def errors_with(text: str) -> list[BaseException]:
    return [
        raised(OSError(5, f"cannot reach {text}")),
        raised(ConnectionError(f"cannot reach {text}")),
        raised(ValueError("short", text.encode(), [text])),
        raised(SinkUnavailable(f"The table answered: {text}.", hint=f"Check {text}")),
        raised(SinkUnavailable("The table is away."), ConnectionError(text)),
        raised(WriteIncomplete(rejected={0: EventMalformed(f"row: {text}")}, message=text)),
        raised(DriverError(text)),
        raised(StubbornError(text)),
    ]


@pytest.mark.parametrize("dsn", DSNS)
@pytest.mark.parametrize("number", range(len(errors_with(""))))
def test_no_error_has_a_secret_in_text_causes_or_attributes(dsn: str, number: int) -> None:
    secrets = Secrets([dsn, None, 5])
    clean = secrets.clean(errors_with(dsn)[number])
    shown = f"{stack_of(clean)} {clean} {clean!r} {vars(clean)}"
    assert not secrets.are_in(shown)
    for one in (PASSWORD, quote(PASSWORD, safe=""), "plain-secret"):
        assert one not in shown


def test_an_error_without_a_secret_stays_as_it_is() -> None:
    error = raised(SinkUnavailable("The table is away."), ConnectionError("reset"))
    assert Secrets(["hunter2"]).clean(error) is error
    assert isinstance(error.__cause__, ConnectionError)


def test_the_kind_of_an_error_is_kept() -> None:
    incomplete = errors_with("hunter2")[5]
    clean: Any = Secrets(["hunter2"]).clean(incomplete)
    assert isinstance(clean, WriteIncomplete)
    assert isinstance(clean.rejected[0], EventMalformed)
    assert "***" in str(clean.rejected[0])


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=3, max_size=30), st.text(max_size=20))
def test_whatever_the_password_is_it_is_not_in_the_error_of_its_url(password: str, before: str) -> None:
    url = f"mysql://u:{quote(password, safe='')}@h/db"
    clean = Secrets([url]).clean(raised(SinkUnavailable(f"{before} {url} {password!r} {password}")))
    assert url not in str(clean)
    assert password not in str(clean).replace("***", "")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "Token", "ApiKey"])
def test_what_follows_the_scheme_of_a_header_is_a_secret_by_itself(scheme: str) -> None:
    secrets = Secrets([f"{scheme} hunter2-hunter2", {"x": f"{scheme} hunter3-hunter3"}])
    assert secrets.removed(f"the token hunter2-hunter2 of {scheme} is not hunter3-hunter3") == (
        f"the token *** of {scheme} is not ***"
    )
