"""The jobs of rdf_streaming_updater.py: real changes of entities, the decisions, and mutations that can be applied."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from headwater.testing.answers import Answer
from headwater.testing.mediawiki import MediaWikiStandIn, serving_in_thread
from headwater.testing.run_job import JobTest
from headwater.testing.run_job import run as run_in_memory
from requirements import at_least_one, requires_fixtures
from wikimedia.project import (
    FIXTURES,
    PROJECT,
    Event,
    Ran,
    in_project,
    interleaved,
    job_named,
    need_library,
    read,
    run,
    run_files,
)

OPERATIONS, UPDATER = "rdf_operations", "rdf_streaming_updater"
STREAM, MUTATIONS = "rdf-streaming-updater.operation.v1", "rdf-streaming-updater.mutation.v2"
LATE, INCONSISTENT = "rdf-streaming-updater.lapsed-action", "rdf-streaming-updater.state-inconsistency"
FAILURES, RECONCILE = "rdf-streaming-updater.fetch-failure", "rdf-streaming-updater.reconcile"
RDF = FIXTURES / "real/rdf_updater"
LIFECYCLE = "derived/page_change_lifecycle_testwikidata_330275.jsonl"
DOMAIN = "www.wikidata.org"
ADDRESS = "http://wiki.example/wiki/Special:EntityData/{entity}.ttl"
ANY = "http://wiki.example/*"
DOMAINS = f"{DOMAIN} test.wikidata.org commons.wikimedia.org"
# Of what is kept of an entity.
STATE_BYTES_MAX = 100


def changed(rev_id: int, kind: str = "edit", *, parent: int | None = None, second: int | None = None) -> Event:
    at = f"2026-01-31T12:00:{rev_id if second is None else second:02}Z"
    event = {
        "$schema": "/mediawiki/page/change/1.2.0",
        "meta": {"stream": "mediawiki.page_change.v1", "id": f"{kind}-{rev_id}-{at}", "domain": DOMAIN, "dt": at},
        "dt": at,
        "changelog_kind": {"create": "insert", "undelete": "insert", "delete": "delete"}.get(kind, "update"),
        "page_change_kind": kind,
        "wiki_id": "wikidatawiki",
        "page": {"page_id": 2, "page_title": "Q2", "namespace_id": 0},
        "revision": {
            "rev_id": rev_id,
            "rev_dt": at,
            "rev_parent_id": (0 if kind == "create" else rev_id - 1) if parent is None else parent,
            "content_slots": {"main": {"slot_role": "main", "content_model": "wikibase-item"}},
        },
    }
    event["meta"]["request_id"] = f"request-{rev_id}-{kind}"  # type: ignore[index]
    return event


def asked_for(rev_id: int, wish: str = "CREATION", second: int = 50, source: str = "us") -> Event:
    at = f"2026-01-31T12:00:{second:02}Z"
    return {
        "$schema": "/rdf_streaming_updater/reconcile/1.0.0",
        "meta": {"stream": RECONCILE, "id": f"{wish}-{rev_id}-{second}", "domain": DOMAIN, "dt": at},
        "item": "Q2",
        "revision_id": rev_id,
        "reconciliation_source": source,
        "reconciliation_action": wish,
    }


def of(events: Iterable[Event], stream: str) -> list[Event]:
    return [event for event in events if event["meta"]["stream"] == stream]


def steps(operations: Iterable[Event]) -> list[tuple[Any, ...]]:
    return [(event["operation"], event["rev_id"], event.get("from_rev_id")) for event in operations]


@requires_fixtures(FIXTURES / "real/page_change")
def test_real_events_are_the_actions_that_the_query_service_takes_them_for() -> None:
    entities = in_project("content.entities")
    found = {}
    for kind in ("wikibase", "mediainfo"):
        for path in sorted((FIXTURES / "real/page_change" / kind).glob("*.json")):
            action = entities.action_of(json.loads(path.read_text("utf-8")))
            found[path.stem] = action and (action.kind, action.entity_id, action.rev_id, action.parent_id)
    edit, delete, undelete = entities.EDIT, entities.DELETE, entities.UNDELETE
    assert found == {
        "item-create": (edit, "Q235989", 686138, None),
        "item-edit": (edit, "Q235989", 686139, 686138),
        "item-delete": (delete, "Q235989", 686140, None),
        "item-page-suppress": (delete, "Q235989", 686140, None),
        "item-undelete": (undelete, "Q235989", 686140, None),
        "item-undelete-suppressed": (undelete, "Q235989", 686140, None),
        "item-visibility-change": None,
        "non-item-create": None,
        "property-edit": (edit, "P115", 686147, 686146),
        "lexeme-create": (edit, "L4227", 686857, None),
        "edit-mediainfo-item": (edit, "M114491269", 934984984, 830021987),
        "move-mediainfo-item": (edit, "M49988679", 930818273, 930818220),
        "edit-non-mediainfo-item": None,
    }


LIFE = [
    ("import", 686138, None),
    ("diff", 686139, 686138),
    ("delete", 686140, None),
    ("import", 686140, None),
    ("delete", 686140, None),
    ("import", 686140, None),
]


def lifecycle(*, seconds: int) -> list[Event]:
    """The real life of an item; so many seconds apart, as orders are tried in which the real minutes are too long."""
    events = at_least_one(read(LIFECYCLE))
    for number, event in enumerate(sorted(events, key=lambda one: str(one["dt"]))):
        event["dt"] = event["meta"]["dt"] = f"2024-10-04T15:00:{number * seconds:02}Z"
    return events


@requires_fixtures(FIXTURES / LIFECYCLE)
def test_a_real_life_over_files_is_six_operations_in_whatever_order_it_comes(tmp_path: Path) -> None:
    events = at_least_one(read(LIFECYCLE))
    for seed in range(3):
        random.Random(seed).shuffle(events)
        ran = run_files(OPERATIONS, [*events, *events[:3]], tmp_path, "--set", f"domains={DOMAINS}")
        assert (steps(ran.outputs), ran.errors, ran.late) == (LIFE, [], 0)


@requires_fixtures(FIXTURES / LIFECYCLE)
@pytest.mark.parametrize("restarts", [0, 1, 3])
async def test_live_in_any_order_within_the_minute_with_canaries_and_restarts(restarts: int) -> None:
    job = with_settings(OPERATIONS, domains=DOMAINS)
    for seed in range(4):
        events = lifecycle(seconds=5)
        random.Random(seed).shuffle(events)
        canaries = [{**one, "meta": {**one["meta"], "domain": "canary", "id": f"c{n}"}} for n, one in enumerate(events)]
        mixed = [event for pair in zip(events, canaries, strict=True) for event in pair]
        other = [changed(number + 1, "create" if number == 0 else "edit") for number in range(8)]
        for event in other:
            event["dt"] = event["meta"]["dt"] = event["dt"].replace("2026-01-31T12", "2024-10-04T15")
        placed = interleaved([mixed, other], seed) if not restarts else [(0, event) for event in (*mixed, *other)]
        ran = await run(job, placed, restarts=restarts)
        assert ran.errors == []
        assert ran.others == {LATE: [], INCONSISTENT: []}
        assert steps(one for one in ran.outputs if one["entity_id"] == "Q235989") == LIFE
        assert [one["rev_id"] for one in ran.outputs if one["entity_id"] == "Q2"] == [1, 2, 3, 4, 5, 6, 7, 8]
        assert len({one["meta"]["id"] for one in ran.outputs}) == len(ran.outputs)


def with_settings(name: str, **settings: Any) -> Any:
    job = job_named(name)
    return dataclasses.replace(job, settings={**job.settings, **settings})


CREATED, DELETED = "CREATED", "DELETED"
# What is known (revision, status), what happens (kind, revision), and what follows: operation, inconsistency, known.
EDIT, DELETE, UNDELETE, CREATION, DELETION = (
    *("revision-create", "page-delete", "page-undelete"),
    *("reconcile-creation", "reconcile-deletion"),
)
TABLE = [
    (None, (EDIT, 5), ("import", 5, None), None, (5, CREATED)),
    ((5, CREATED), (EDIT, 7), ("diff", 7, 5), None, (7, CREATED)),
    ((5, CREATED), (EDIT, 5), None, "newer_revision_seen", (5, CREATED)),
    ((5, CREATED), (EDIT, 4), None, "newer_revision_seen", (5, CREATED)),
    ((5, DELETED), (EDIT, 7), None, "missed_undelete", (5, DELETED)),
    ((5, DELETED), (EDIT, 5), None, "newer_revision_seen", (5, DELETED)),
    ((5, CREATED), (DELETE, 5), ("delete", 5, None), None, (5, DELETED)),
    ((5, CREATED), (DELETE, 6), ("delete", 6, None), None, (6, DELETED)),
    ((5, CREATED), (DELETE, 4), None, "newer_revision_seen", (5, CREATED)),
    ((5, DELETED), (DELETE, 5), None, "newer_revision_seen", (5, DELETED)),
    (None, (DELETE, 5), None, "newer_revision_seen", None),
    (None, (UNDELETE, 5), ("import", 5, None), None, (5, CREATED)),
    ((5, DELETED), (UNDELETE, 5), ("import", 5, None), None, (5, CREATED)),
    ((5, DELETED), (UNDELETE, 6), None, "unmatched_delete", (5, DELETED)),
    ((5, CREATED), (UNDELETE, 5), None, "unmatched_delete", (5, CREATED)),
    ((5, CREATED), (UNDELETE, 4), None, "newer_revision_seen", (5, CREATED)),
    (None, (CREATION, 5), ("reconcile", 5, None), None, (5, CREATED)),
    ((5, CREATED), (CREATION, 7), ("reconcile", 7, None), None, (7, CREATED)),
    ((7, CREATED), (CREATION, 5), ("reconcile", 7, None), None, (7, CREATED)),
    ((7, DELETED), (CREATION, 5), ("delete", 7, None), None, (7, DELETED)),
    ((5, CREATED), (CREATION, 5), ("reconcile", 5, None), None, (5, CREATED)),
    ((5, DELETED), (CREATION, 5), ("reconcile", 5, None), "reconcile_ambiguous_creation", (5, CREATED)),
    ((5, CREATED), (DELETION, 5), ("delete", 5, None), "reconcile_ambiguous_deletion", (5, DELETED)),
    ((5, CREATED), (DELETION, 6), ("delete", 6, None), None, (6, DELETED)),
    ((7, CREATED), (DELETION, 5), ("reconcile", 7, None), None, (7, CREATED)),
    ((7, CREATED), (DELETION, 0), ("delete", 0, None), None, None),
    (None, (DELETION, 0), ("delete", 0, None), None, None),
]


@pytest.mark.parametrize(("known", "action", "operation", "inconsistency", "then"), TABLE)
def test_the_table_of_decisions(known: Any, action: Any, operation: Any, inconsistency: Any, then: Any) -> None:
    entities = in_project("content.entities")
    before = known and entities.Known(known[0], is_deleted=known[1] == DELETED)
    made = entities.decided(entities.Action(action[0], "Q2", action[1]), before)
    assert (made.operation and (made.operation, made.rev_id, made.from_rev_id)) == operation
    assert made.inconsistency == inconsistency
    assert (made.known and (made.known.rev_id, DELETED if made.known.is_deleted else CREATED)) == then


def test_an_edit_passes_at_once_only_if_it_follows_what_is_known_and_nothing_is_held() -> None:
    with JobTest(job_named(OPERATIONS)) as test:
        test.put(changed(1, "create"))
        assert steps(test.process().events) == []
        test.put(changed(9, second=9), *_of_another(["create"], minute=2))
        assert steps(one for one in test.process().events if one["entity_id"] == "Q2") == [
            ("import", 1, None),
            ("diff", 9, 1),
        ]


def _of_another(kinds: list[str], minute: int) -> list[Event]:
    events = [changed(number + 1, kind) for number, kind in enumerate(kinds)]
    for event in events:
        event["page"] = {"page_id": 3, "page_title": "Q3", "namespace_id": 0}
        event["dt"] = event["meta"]["dt"] = event["dt"].replace("12:00", f"12:{minute:02}")
        event["meta"]["id"] += "-q3"
    return events


def test_a_successor_does_not_wait_and_one_behind_a_gap_does() -> None:
    with JobTest(job_named(OPERATIONS)) as test:
        test.put(asked_for(4, second=1))
        assert steps(test.process().events) == [("reconcile", 4, None)]
        test.put(changed(5))
        assert steps(test.process().events)[1:] == [("diff", 5, 4)]
        # 6 is missing: 7 waits, and 8, which follows it, as well; what is known already does not.
        test.put(changed(8), changed(7), changed(3, second=9))
        outcome = test.process()
        assert steps(outcome.events)[2:] == []
        assert [one["inconsistency"] for one in outcome[INCONSISTENT]] == ["newer_revision_seen"]
        test.put(changed(6))
        assert steps(test.finish().events)[2:] == [("diff", 6, 5), ("diff", 7, 6), ("diff", 8, 7)]


def test_what_comes_too_late_is_an_event_and_a_reconciliation_never_does(tmp_path: Path) -> None:
    newest = _of_another(["create"], minute=1)
    edge = changed(1, "create")  # 60 s before the newest event
    late = changed(1, "create", second=0)
    late["page"] = {**late["page"], "page_title": "Q4"}
    reconciled = asked_for(9, second=0)
    ran = run_files(OPERATIONS, [*newest, edge, late, reconciled], tmp_path, "--order", "arrival")
    assert ran.errors == []
    (lapsed,) = of(ran.outputs, LATE)
    assert (lapsed["item"], lapsed["revision_id"], lapsed["action_type"]) == ("Q4", 1, EDIT)
    assert lapsed["original_event_info"]["meta"]["id"] == late["meta"]["id"]
    assert ("reconcile", 9, None) in steps(of(ran.outputs, STREAM))
    assert all(one["item"] != "Q2" for one in of(ran.outputs, LATE))


def test_a_reconciliation_of_another_source_or_domain_is_left_out(tmp_path: Path) -> None:
    ours, other = asked_for(5, source="us"), asked_for(6, source="them")
    elsewhere = asked_for(7)
    elsewhere["meta"]["domain"] = "test.wikidata.org"
    source = ["--set", "reconciliation_source=us"]
    ran = run_files(OPERATIONS, [ours, other, elsewhere], tmp_path, *source)
    assert steps(ran.outputs) == [("reconcile", 5, None)]


@requires_fixtures(RDF)
def test_real_reconciliations_are_taken_and_real_exceptions_have_the_fields_of_ours(tmp_path: Path) -> None:
    asked = [json.loads((RDF / f"reconcile-creation{name}.json").read_text()) for name in ("", "-unrelated-source")]
    ran = run_files(
        OPERATIONS,
        asked,
        tmp_path,
        "--set",
        f"domains={DOMAINS}",
        "--set",
        "reconciliation_source=wdqs_sideoutputs_reconcile@codfw",
    )
    assert [(one["entity_id"], one["rev_id"], one["operation"]) for one in ran.outputs] == [
        ("Q4307828", 2257509785, "reconcile")
    ]
    counts = {}
    for name, stream, version in (
        ("failures", FAILURES, "fetch_failure/1.2.0"),
        ("inconsistencies", INCONSISTENT, "state_inconsistency/1.1.0"),
        ("late-events", LATE, "lapsed_action/1.1.0"),
    ):
        # The last line has no end.
        rows = [json.loads(line) for line in (RDF / f"{name}.json").read_text("utf-8").split("\n") if line]
        counts[name] = len(rows)
        for row in rows:
            assert row["meta"]["stream"] == stream
            assert schema_errors({**row, "$schema": f"/rdf_streaming_updater/{version}"}) == []
    assert counts == {"failures": 37, "inconsistencies": 18, "late-events": 4}


def schema_errors(event: Event) -> list[str]:
    title, _, version = event["$schema"].strip("/").rpartition("/")
    document = yaml.safe_load((PROJECT / "schemas" / title / f"{version}.yaml").read_text("utf-8"))
    return [str(error) for error in jsonschema_rs.validator_for(document).iter_errors(event)]


def turtle(name: str) -> str:
    return (RDF / name).read_text("utf-8")


@requires_fixtures(RDF)
def test_the_real_difference_of_two_revisions_is_that_of_the_query_service() -> None:
    need_library("rdflib")
    rdf = in_project("content.rdf")
    old, new = (rdf.munged(turtle(f"sitelink_class_rev_{n}.ttl"), "Q2", n) for n in (1, 2))
    patch = rdf.difference(old, new)
    expected = {
        ours: rdf.parsed(turtle(f"sitelink_class_diff_rev_1_2_{theirs}.ttl"), "genid:")
        for ours, theirs in (
            *(("added", "added"), ("deleted", "removed")),
            *(("linked", "linkedshared"), ("unlinked", "unlinkedshared")),
        )
    }
    assert [len(part) for part in expected.values()] == [4, 4, 11, 11]
    assert {name: getattr(patch, name) for name in expected} == expected


@requires_fixtures(RDF)
def test_of_real_rdf_that_was_munged_nothing_more_is_left_out() -> None:
    need_library("rdflib")
    rdf = in_project("content.rdf")
    text = turtle("RdfRepositoryUpdaterIntegrationTest.Q513-munged.ttl")
    about = """
        <https://www.wikidata.org/wiki/Special:EntityData/Q513> a schema:Dataset ; schema:about wd:Q513 ;
            schema:version 5 ; schema:dateModified "2020-01-01T00:00:00Z"^^xsd:dateTime .
    """
    before, after = rdf.parsed(text, "genid:"), rdf.munged(text + about, "Q513").triples
    assert len(before) == 2154
    assert before <= after
    assert sorted(predicate for _, predicate, _ in after - before) == [rdf.MODIFIED, rdf.VERSION]


@requires_fixtures(RDF)
def test_of_a_real_entity_what_repeats_and_what_is_about_others_is_left_out() -> None:
    need_library("rdflib")
    rdf = in_project("content.rdf")
    kept = rdf.munged(turtle("Q42.ttl"), "Q42", 1997465481)
    left_out = rdf.parsed(turtle("Q42.ttl"), "genid:") - kept.triples
    assert len(kept.triples) == 3699
    predicates = {str(predicate) for _, predicate, _ in left_out if "Special:EntityData" not in str(_)}
    assert {"http://schema.org/name", "http://www.w3.org/2004/02/skos/core#prefLabel"} <= predicates
    statements = {subject for subject, _, _ in kept.triples if "/entity/statement/" in subject}
    assert len(statements) == 307
    # An unknown value is a blank node, which gets an IRI of its own name.
    assert any("/.well-known/genid/" in value for _, _, value in kept.triples)


@requires_fixtures(RDF)
@pytest.mark.parametrize("chars_max", [128_000, 20_000, 500])
def test_parts_are_not_larger_than_asked_for_and_together_they_are_the_whole(chars_max: int) -> None:
    need_library("rdflib")
    rdf = in_project("content.rdf")
    entity = rdf.munged(turtle("Q42.ttl"), "Q42")
    patch = rdf.difference(None, entity)
    parts = rdf.parts(patch, entity.root, chars_max)
    assert max(sum(map(len, part.values())) for part in parts) <= chars_max
    for name in ("added", "linked"):
        texts = [part[name] for part in parts if name in part]
        assert frozenset().union(*(rdf.parsed(text, "genid:") for text in texts)) == getattr(patch, name)
    assert {name for part in parts for name in part} == {"added", "linked"}


def test_a_triple_that_is_too_long_is_a_part_of_its_own_and_texts_survive() -> None:
    need_library("rdflib")
    rdf = in_project("content.rdf")
    awkward = ['say "no"', "a\nb\r\tc", "back\\slash", "\x00\x1f\x7f", "😀 שלום", "a^^xsd:b", "x" * 40_000]
    lines = [f"wd:Q2 schema:description {json.dumps(text, ensure_ascii=False)}@en ." for text in awkward]
    entity = rdf.munged(small("Q2", 5, *lines), "Q2", 5)
    parts = rdf.parts(rdf.difference(None, entity), entity.root, 300)
    back = frozenset().union(*(rdf.parsed(text, "genid:") for part in parts for text in part.values()))
    assert back == entity.triples
    texts = {str(value) for _, predicate, value in back if str(predicate).endswith("description")}
    assert texts == {*awkward[:-1], "x" * 32_767}
    assert sum(len(text) > 300 for part in parts for text in part.values()) == 1


def small(entity_id: str, rev_id: int, *lines: str) -> str:
    """An entity as a wiki writes it."""
    return "\n".join(
        [
            "@prefix schema: <http://schema.org/> . @prefix wd: <http://www.wikidata.org/entity/> .",
            "@prefix wikibase: <http://wikiba.se/ontology#> . @prefix xsd: <http://www.w3.org/2001/XMLSchema#> .",
            "@prefix p: <http://www.wikidata.org/prop/> . @prefix s: <http://www.wikidata.org/entity/statement/> .",
            "@prefix ps: <http://www.wikidata.org/prop/statement/> .",
            "@prefix ref: <http://www.wikidata.org/reference/> .",
            "@prefix prov: <http://www.w3.org/ns/prov#> . @prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .",
            f"<https://www.wikidata.org/wiki/Special:EntityData/{entity_id}> a schema:Dataset ;",
            f'  schema:about wd:{entity_id} ; schema:version {rev_id} ; schema:softwareVersion "1.0.0" ;',
            '  schema:dateModified "2026-01-31T12:00:00Z"^^xsd:dateTime ; wikibase:statements 1 .',
            f"wd:{entity_id} a wikibase:Item .",
            *lines,
        ]
    )


def random_entity(rev_id: int, chance: random.Random) -> str:
    lines = [f'wd:Q2 rdfs:label "label {chance.randint(1, 3)}"@{chance.choice(("en", "de"))} .']
    for number in chance.sample(range(6), chance.randint(0, 6)):
        lines += [f"wd:Q2 p:P{number} s:Q2-{number} .", f"s:Q2-{number} a wikibase:Statement, wikibase:BestRank ;"]
        value = chance.choice(("_:unknown", "wd:Q5", '"text"'))
        lines += [f"  ps:P{number} {value} ; wikibase:rank wikibase:NormalRank ;"]
        lines += [f"  prov:wasDerivedFrom ref:r{number % 3} .", f'ref:r{number % 3} ps:P9 "source" .']
    for host in chance.sample(("en", "de", "fr"), chance.randint(0, 3)):
        page = f"<https://{host}.wikipedia.org/wiki/Earth>"
        lines += [f'{page} a schema:Article ; schema:about wd:Q2 ; schema:inLanguage "{host}" .']
        lines += [f'<https://{host}.wikipedia.org/> wikibase:wikiGroup "wikipedia" .'] * chance.randint(0, 1)
    # Nobody asked for these.
    return small("Q2", rev_id, *lines, 'wd:Q3 rdfs:label "other"@en .', 'ref:unused ps:P9 "nothing" .')


@pytest.mark.parametrize("seed", range(20))
def test_who_applies_the_mutations_has_the_rdf_of_the_newest_revision(seed: int) -> None:
    need_library("rdflib")
    rdf, chance = in_project("content.rdf"), random.Random(seed)
    texts = {rev_id: random_entity(rev_id, chance) for rev_id in range(1, 7)}
    operations = [
        ("import", 1, None),
        *(("diff", rev_id, rev_id - 1) for rev_id in range(2, 7)),
        ("reconcile", 6, None),
    ]
    made = mutations(
        [operation(*one, number) for number, one in enumerate(operations)], texts, chars_max=chance.choice((300, 10**6))
    )
    store: frozenset[Any] = frozenset()
    for (kind, rev_id, _), (_, chunks) in zip(
        operations, itertools.groupby(made, key=lambda one: one["meta"]["request_id"]), strict=True
    ):
        events = list(chunks)
        assert [one["sequence"] for one in events] == list(range(len(events)))
        assert {one["sequence_length"] for one in events} == {len(events)}
        sets = {
            field: frozenset().union(*(rdf.parsed(one[field]["data"], "genid:") for one in events if field in one))
            for field in ("rdf_added_data", "rdf_deleted_data", "rdf_linked_shared_data", "rdf_unlinked_shared_data")
        }
        if kind == "reconcile":
            assert sets["rdf_added_data"] == store
        assert not sets["rdf_deleted_data"] - store
        store -= sets["rdf_deleted_data"] | sets["rdf_unlinked_shared_data"]
        store |= sets["rdf_added_data"] | sets["rdf_linked_shared_data"]
        assert store == rdf.munged(texts[rev_id], "Q2").triples


def operation(kind: str, rev_id: int, from_rev_id: int | None = None, number: int = 0, entity: str = "Q2") -> Event:
    at = "2026-01-31T12:00:00Z"
    meta = {"stream": STREAM, "id": f"{number}-{kind}", "domain": DOMAIN, "request_id": f"r{number}", "dt": at}
    made: Event = {
        "$schema": "/rdf_streaming_updater/operation/1.0.0",
        "meta": meta,
        "dt": at,
        "entity_id": entity,
        "operation": kind,
        "rev_id": rev_id,
        "original_ingestion_dt": at,
        "original_event_info": {"meta": {"stream": "mediawiki.page_change.v1", "dt": at, "id": f"e{number}"}, "dt": at},
    }
    return made if from_rev_id is None else {**made, "from_rev_id": from_rev_id}


def mutations(operations: list[Event], texts: dict[int, str], **settings: Any) -> list[Event]:
    def answer(request: Any) -> Answer:
        rev_id = int(request.url.rpartition("revision=")[2])
        return Answer(texts[rev_id], 200) if rev_id in texts else Answer("", 404)

    outcome = run_in_memory(
        job_named(UPDATER), operations, http={ANY: answer}, settings={"entity_data": ADDRESS, **settings}
    )
    assert outcome.errors == outcome[FAILURES] == []
    return outcome.events


@requires_fixtures(RDF)
def test_from_changes_to_mutations_against_the_stand_in(tmp_path: Path) -> None:
    need_library("rdflib")
    rows = [
        {"domain": DOMAIN, "entity": "Q2", "rev_id": n, "turtle": turtle(f"sitelink_class_rev_{n}.ttl")} for n in (1, 2)
    ]
    stand_in = MediaWikiStandIn(rows)
    changes = [changed(2), changed(1, "create"), changed(2, "delete", second=9)]
    ran = updated(stand_in, run_files(OPERATIONS, changes, tmp_path).outputs, tmp_path)
    assert ran.errors == []
    assert [(one["operation"], one["rev_id"], one["sequence_length"]) for one in ran.outputs] == [
        ("import", 1, 1),
        ("diff", 2, 1),
        ("delete", 2, 1),
    ]
    rdf, diff = in_project("content.rdf"), ran.outputs[1]
    for field, name in (
        *(("added", "added"), ("deleted", "removed")),
        *(("linked_shared", "linkedshared"), ("unlinked_shared", "unlinkedshared")),
    ):
        data = diff[f"rdf_{field}_data"]
        assert data["mime_type"] == "text/turtle"
        expected = rdf.parsed(turtle(f"sitelink_class_diff_rev_1_2_{name}.ttl"), "genid:")
        assert rdf.parsed(data["data"], "genid:") == expected
    assert ran.outputs[2].keys().isdisjoint(name for name in diff if name.startswith("rdf_"))
    assert diff["meta"]["request_id"] == "request-2-edit"
    # A revision that two differences have in common is asked for once.
    assert [(one.path, one.params["revision"], one.params["flavor"]) for one in stand_in.requests] == [
        ("/wiki/Special:EntityData/Q2.ttl", "1", "dump"),
        ("/wiki/Special:EntityData/Q2.ttl", "2", "dump"),
    ]


def updated(stand_in: MediaWikiStandIn, operations: list[Event], folder: Path) -> Ran:
    with serving_in_thread(stand_in) as url:
        address = f"{url}/wiki/Special:EntityData/{{entity}}.ttl"
        return run_files(UPDATER, of(operations, STREAM), folder, "--set", f"entity_data={address}")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer("", 404), "ENTITY_NOT_FOUND"),
        (Answer("", 204), "NO_CONTENT"),
        (Answer("", 200), "EMPTY_RESPONSE"),
        (Answer("no", 403), "UNEXPECTED_RESPONSE"),
        (Answer("wd:Q2 schema:version", 200), "UNKNOWN"),
        (Answer("<html>not Turtle</html>", 200), "UNKNOWN"),
        (Answer(small("Q3", 2), 200), "UNKNOWN"),
        (Answer(small("Q2", 9), 200), "UNEXPECTED_RESPONSE"),
        (Answer("sorry", 503), "UNKNOWN"),
    ],
)
def test_rdf_that_cannot_be_had_is_an_event_and_the_next_goes_on(answer: Answer, kind: str) -> None:
    need_library("rdflib")
    events = [operation("diff", 2, 1, 1), operation("import", 5, None, 2, "Q5")]
    good = Answer(small("Q5", 5), 200)
    outcome = run_in_memory(
        job_named(UPDATER),
        events,
        http={"*Q5.ttl*": good, "*Q2.ttl*": answer},
        settings={"entity_data": ADDRESS},
        at="2026-01-31T12:01:00Z",
    )
    assert outcome.errors == []
    assert [one["entity_id"] for one in outcome.events] == ["Q5"]
    (failure,) = outcome[FAILURES]
    assert failure["fetch_error_type"] == kind
    assert (failure["item"], failure["revision_id"], failure["from_revision_id"]) == ("Q2", 2, 1)
    assert failure["op_type"] == "diff"
    assert failure["exception_type"]
    assert failure["exception_msg"]
    assert failure["original_event_info"]["meta"]["id"] == "e1"


def test_a_replica_may_lag_for_ten_seconds() -> None:
    need_library("rdflib")
    with JobTest(
        job_named(UPDATER),
        http={ANY: (Answer("", 404), Answer("", 404), Answer(small("Q2", 1), 200))},
        settings={"entity_data": ADDRESS},
        at="2026-01-31T12:00:01Z",
    ) as test:
        test.put(operation("import", 1))
        outcome = test.process()
        assert [one["rev_id"] for one in outcome.events] == [1]
        assert outcome[FAILURES] == []


def test_of_an_entity_no_more_is_kept_than_its_revision() -> None:
    with JobTest(job_named(OPERATIONS), settings={"domains": DOMAINS}) as test:
        for number in range(1, 51):
            event = changed(2_257_000_000 + number, "create", second=1)
            event["page"] = {"page_id": number, "page_title": f"Q12345{number:04}", "namespace_id": 0}
            test.put(event)
        test.finish()
        cells = test._do(stored(test._open.log, f"job/{OPERATIONS}/ordered/"))
    assert len(cells) == 50
    # Keys and values as they are stored; what a million entities take is a million times as much.
    assert max(cells) <= STATE_BYTES_MAX


async def stored(log: Any, prefix: str) -> list[int]:
    """The bytes of each value that begins so, keys included."""
    sizes = []
    for part in ("cells", "rows", "timers"):
        after = b""
        while page := await log.state_scan(prefix + part, after=after):
            sizes += [len(key) + len(value) for key, value in page]
            after = page[-1][0]
    return sizes


def test_a_run_over_history_ends_with_what_a_live_job_knows() -> None:
    chance = random.Random(5)
    events = [changed(1, "create"), changed(2), changed(3), changed(3, "delete", second=4)]
    events += [changed(3, "undelete", second=5), *(changed(rev_id, second=rev_id + 2) for rev_id in range(4, 30))]
    whole = run_in_memory(job_named(OPERATIONS), events)
    parts = list(events)
    chance.shuffle(parts)
    with JobTest(job_named(OPERATIONS)) as test:
        for start in range(0, len(parts), 7):
            test.put(*parts[start : start + 7])
            test.process()
            test.restart(test.job)
        live = test.finish()
    assert live.state_of("ordered") == whole.state_of("ordered") == {(DOMAIN, "Q2"): [29, False]}
    assert steps(live.events) == steps(whole.events)


def test_a_process_that_ends_between_two_fetches_says_each_thing_once() -> None:
    need_library("rdflib")
    texts = {rev_id: small("Q2", rev_id) for rev_id in range(1, 9)}
    events = [operation("import", 1, None, 1), *(operation("diff", n, n - 1, n) for n in range(2, 9))]

    def answer(request: Any) -> Answer:
        return Answer(texts[int(request.url.rpartition("revision=")[2])], 200)

    with JobTest(job_named(UPDATER), http={ANY: answer}, settings={"entity_data": ADDRESS}) as test:
        for one in events:
            canary = {**one, "meta": {**one["meta"], "domain": "canary", "id": f"canary-{one['rev_id']}"}}
            test.put(canary, one, one)
            test.process()
            test.restart(test.job)
        outcome = test.finish()
    assert [one["rev_id"] for one in outcome.events] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert outcome.errors == outcome[FAILURES] == []
