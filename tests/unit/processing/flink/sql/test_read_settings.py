"""What a program may say about a table that it reads is checked, and the nearest name is suggested."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.errors import ConfigInvalid
from headwater.processing.flink.sql.read_settings import checked


def test_all_settings_are_accepted() -> None:
    checked({})
    checked({"start": "newest", "until_end": True, "out_of_order": "5s", "idle": 3, "on_error": "skip"})


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ({"on_eror": "skip"}, "on_eror is no setting of a table", "Did you mean on_error?"),
        ({"bounded": True}, "bounded is no setting", "There are start, until_end"),
        ({"start": "now"}, "start is 'oldest' or 'newest', not 'now'", ""),
        ({"on_error": "ignore"}, "on_error is 'error_event' or 'stop' or 'skip', not 'ignore'", ""),
    ],
)
def test_what_is_none_is_refused(given: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(ConfigInvalid, match=message) as caught:
        checked(given)
    assert hint in (caught.value.hint or "")
