"""The job page_change_producer: real events of every kind again, real revisions replayed, and what is no change."""

from __future__ import annotations

import copy
import itertools
import random
from pathlib import Path
from typing import Any

import pytest

from headwater.testing.run_job import run as run_in_memory
from requirements import at_least_one, requires_fixtures
from wikimedia.page_events import change
from wikimedia.project import FIXTURES, Event, declared, in_project, interleaved, job_named, read, run, run_files

JOB = "page_change_producer"
REAL = "real/page_change"
REVISIONS = "real/wikiwho/adam_himebauch_revisions.json"
CHANGES = "derived/page_change_adam_himebauch.jsonl.gz"
LIFECYCLE = "derived/page_change_lifecycle_testwikidata_330275.jsonl"
UNANNOUNCED = 688100637
VISIBLE = {"is_content_visible": True, "is_editor_visible": True, "is_comment_visible": True}


def real_events() -> list[Event]:
    paths = sorted((FIXTURES / REAL).glob("*/*.json"))
    return [read(str(path.relative_to(FIXTURES))) for path in paths]  # type: ignore[misc]


def action(name: str, event: Event, number: int, **more: Any) -> Event:
    """What a wiki did, of the change that it announced."""
    kept = {
        field: event[field] for field in ("dt", "wiki_id", "page", "performer", "comment", "revision") if field in event
    }
    if "created_redirect_page" in event:
        kept["created_redirect_page"] = event["created_redirect_page"]
    meta = {**event["meta"], "stream": "mediawiki.wiki_action.v1", "id": f"{name}-{event['meta']['id']}-{number}"}
    made: Event = {"$schema": "/mediawiki/wiki_action/1.0.0", **kept, "meta": meta, "action": name, **more}
    return copy.deepcopy(made)


def actions_for(event: Event) -> list[Event]:
    """What was before a real change, which is not announced, and what changed."""
    is_suppressed = event["page_change_kind"] == "delete" and "performer" not in event
    name = "suppress" if is_suppressed else event["page_change_kind"]
    prior = event.get("prior_state", {})
    before = prior.get("revision", {})
    if "rev_id" not in before:
        before = {**event["revision"], **VISIBLE, **before}
    if is_suppressed:
        secret = {"rev_sha1": "secret", "rev_size": 5, "comment": "secret", "editor": {"user_text": "secret"}}
        before |= secret
        event = {**event, "performer": {"user_text": "secret"}, "revision": before}
    if not prior and name == "create":
        return [action(name, event, 1)]
    page = {**event["page"], **prior.get("page", {})}
    seen = action("protect", event, 0, page=page, revision=before)
    return [seen, action(name, event, 1)]


def content_of(event: Event) -> Event:
    return {**event, "meta": {name: value for name, value in event["meta"].items() if name != "id"}}


@requires_fixtures(FIXTURES / REAL)
def test_each_real_event_is_made_again_of_what_the_wiki_did(tmp_path: Path) -> None:
    events = at_least_one(real_events())
    assert len(events) == 13
    for event in events:
        ran = run_files(JOB, actions_for(event), tmp_path, "--order", "arrival")
        assert ran.errors == []
        assert [content_of(made) for made in ran.outputs] == [content_of(event)]


@requires_fixtures(FIXTURES / REAL)
def test_each_real_event_is_valid_by_the_schemas_of_the_project(tmp_path: Path) -> None:
    events = [*real_events(), *(read(f"{REAL}/{name}")["event"] for name in LIFTWING)]  # type: ignore[call-overload]
    ran = run_files("dependency_changes", at_least_one(events), tmp_path)
    assert ran.errors == []


LIFTWING = ("liftwing_enwiki_edit_1.3.0.json", "liftwing_wikidata_edit_1.6.0.json")


@requires_fixtures(FIXTURES / LIFECYCLE)
def test_the_life_of_a_real_page_is_announced_as_it_was() -> None:
    events = at_least_one(read(LIFECYCLE))
    actions = []
    for event in events:
        actions += actions_for(event)
    made = run_in_memory(job_named(JOB), actions).events
    assert [one["page_change_kind"] for one in made] == [event["page_change_kind"] for event in events]
    assert made[4]["revision"].keys() == events[4]["revision"].keys(), "the suppressed one"


def replayed() -> list[Event]:
    page = {"page_id": 999000001, "page_title": "Hanksy", "namespace_id": 0, "is_redirect": False}
    found = []
    for number, one in enumerate(in_project("content.wiki_actions").actions_of(at_least_one(read(REVISIONS)), page)):
        title = one["page"]["page_title"]
        meta = {
            "stream": "mediawiki.wiki_action.v1",
            "id": f"action-{number}",
            "dt": one["dt"],
            "domain": "en.wikipedia.org",
            "uri": f"https://en.wikipedia.org/wiki/{title}",
        }
        found.append({"$schema": "/mediawiki/wiki_action/1.0.0", "meta": meta, "wiki_id": "enwiki", **one})
    return found


def expected() -> list[Event]:
    return [bare(event) for event in read(CHANGES)]


def bare(event: Event) -> Event:
    """Without what the fixture has made up, and the namespace before a move, which real events have and it has not."""
    made = copy.deepcopy(event)
    made["meta"] = {name: made["meta"][name] for name in ("stream", "uri", "domain", "dt")}
    made.get("prior_state", {}).get("page", {}).pop("namespace_id", None)
    return made


@requires_fixtures(FIXTURES / REVISIONS)
def test_146_real_revisions_are_145_changes_in_a_shuffled_file(tmp_path: Path) -> None:
    actions = replayed()
    random.Random(3).shuffle(actions)
    ran = run_files(JOB, [*actions, *actions[:9]], tmp_path)
    assert ran.errors == []
    assert len(actions) == 146
    assert [bare(event) for event in ran.outputs] == expected()
    assert not any("content_body" in str(event) for event in ran.outputs)


@requires_fixtures(FIXTURES / REVISIONS)
@pytest.mark.parametrize("restarts", [0, 3])
async def test_live_over_partitions_with_canaries_and_restarts_they_are_the_same(restarts: int) -> None:
    actions = replayed()
    canary = {**actions[7], "meta": {**actions[7]["meta"], "domain": "canary", "id": "canary"}}
    others = [
        {**one, "meta": {**one["meta"], "id": f"o-{n}"}, "wiki_id": "dewiki"} for n, one in enumerate(actions[:20])
    ]
    placed = interleaved([[*actions[:8], canary, *actions[5:]], others], seed=restarts)
    ran = await run(job_named(JOB), placed, restarts=restarts)
    assert ran.errors == []
    made = [event for event in ran.outputs if event["wiki_id"] == "enwiki"]
    assert [{**bare(event), "meta": 0} for event in made] == [{**event, "meta": 0} for event in expected()]


@requires_fixtures(FIXTURES / REVISIONS)
def test_the_parent_of_a_revision_is_not_always_the_one_announced_before_it() -> None:
    made = run_in_memory(job_named(JOB), replayed()).events
    assert UNANNOUNCED not in {event["revision"]["rev_id"] for event in made}
    breaks = [
        after["revision"]["rev_id"]
        for before, after in itertools.pairwise(made)
        if after["revision"]["rev_parent_id"] != before["revision"]["rev_id"]
    ]
    assert breaks == [688100638]
    (after,) = [event for event in made if event["revision"]["rev_id"] == 688100638]
    assert after["prior_state"]["revision"]["rev_id"] == UNANNOUNCED


def did(name: str, rev_id: int, **more: Any) -> Event:
    return action(name, {**change(rev_id, "text"), "performer": {"user_text": "Ada"}}, 1, **more)


def test_a_null_edit_and_a_protection_are_no_changes(tmp_path: Path) -> None:
    null_edit = did("edit", 11)
    null_edit["meta"]["id"] = "null edit"
    ran = run_files(JOB, [did("create", 11), null_edit, did("protect", 12), did("edit", 13)], tmp_path)
    assert [event["revision"]["rev_id"] for event in ran.outputs] == [11, 13]
    assert ran.outputs[1]["prior_state"]["revision"]["rev_id"] == 12


def test_a_suppression_tells_nothing_of_the_revision_and_of_who_did_it(tmp_path: Path) -> None:
    ran = run_files(JOB, [did("create", 11), did("suppress", 12)], tmp_path)
    made = ran.outputs[1]
    assert "performer" not in made
    assert {"rev_sha1", "rev_size", "comment", "editor", "content_slots"}.isdisjoint(made["revision"])
    assert {made["revision"][flag] for flag in VISIBLE} == {False}
    assert made["prior_state"] == {"revision": VISIBLE}


def test_only_what_is_hidden_now_is_said_to_have_been_visible(tmp_path: Path) -> None:
    hidden = did("visibility_change", 12)
    hidden["revision"] |= {"is_comment_visible": False, "comment": "secret"}
    made = run_files(JOB, [did("create", 11), did("edit", 12), hidden], tmp_path).outputs[2]
    assert made["prior_state"] == {"revision": {"is_comment_visible": True}}
    assert "comment" not in made["revision"]


@pytest.mark.parametrize("broken", [{"action": "edti"}, {"page": {"page_id": 7}}, {"revision": {"rev_id": "12"}}])
def test_an_action_that_cannot_be_read_is_an_error_event(broken: Event, tmp_path: Path) -> None:
    ran = run_files(JOB, [{**did("edit", 12), **broken}], tmp_path, "--no-validate")
    assert [error["error_type"] for error in ran.errors] == ["INVALID_INPUT"]


def test_events_have_the_key_of_their_page() -> None:
    stream = declared()[0].get("mediawiki.page_change.v1")
    assert dict(stream.message_key_fields or {}) == {"wiki_id": "wiki_id", "page_id": "page.page_id"}


def test_sha1_in_base_36() -> None:
    in_base_36 = in_project("content.wiki_actions").in_base_36
    assert in_base_36("0" * 40) == "0" * 31
    assert in_base_36("f" * 40) == "twj4yidkw7a8pn4g709kzmfoaol3x8f"
