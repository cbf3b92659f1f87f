"""The ids of derived events are those that RFC 4122 makes of a name (version 5), so that they never change."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from headwater.jobs.ids import NAMESPACE, derived_id


@given(st.text(), st.text(), st.text())
def test_an_id_is_the_name_based_uuid_of_job_stream_and_cause(job: str, stream: str, lineage_id: str) -> None:
    assert derived_id(job, stream, lineage_id) == str(uuid.uuid5(NAMESPACE, f"{job}\n{stream}\n{lineage_id}"))
