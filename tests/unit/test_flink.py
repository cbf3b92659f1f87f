"""`headwater.flink` can be imported anywhere, and says what to install where there is no PyFlink."""

from __future__ import annotations

import sys
from typing import Any

import pytest

import headwater.flink
from headwater.errors import ExtraMissing


@pytest.mark.parametrize("function", [headwater.flink.table, headwater.flink.sink])
def test_without_pyflink_it_says_what_to_install(function: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyflink.table", None)
    with pytest.raises(ExtraMissing, match="Tables of Flink need PyFlink") as caught:
        function(None, "edits:1.0.0", name="counts")
    assert "make flink" in (caught.value.hint or "")
