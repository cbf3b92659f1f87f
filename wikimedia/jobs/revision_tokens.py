"""Where each word of a page comes from: which words a revision added, removed and brought back, and those of today.

How this works: the revisions of a page are given to WikiWho in their order. One that comes out of order cannot be put
in its place any more: the history of the page would have to be processed again, and a request says so. The words that
a hidden revision brought are known by number only.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from headwater.jobs import Context, Dedupe, Each, Job, PerKey, ToStream, Transition, table

from ..content import pages
from ..content.bounded import Bounded
from ..content.page_rows import checked, forgotten, version_of

CHANGES = "mediawiki.page_token_change.v1"
CURRENT = "mediawiki.page_tokens.v1"
REBUILD = "mediawiki.page_token_rebuild.v1"
SECONDS_MAX = 20.0
# A page that was deleted is remembered for so long, in case it is restored.
DELETED_TTL = "30d"
FORGET = "forget"
HIDDEN_MAX = 10_000
SETTINGS = {
    # Of what is kept of a page, compressed; earlier paragraphs and sentences are forgotten to stay below.
    "page_chars_max": 4_000_000,
    # More tokens than these are left out of the event with the tokens of a page.
    "tokens_max": 50_000,
}

provenance = Bounded(
    Path(__file__).parent.parent / "content" / "token_provenance.py", "provenance", seconds=SECONDS_MAX
)


@dataclass
class Tokens:
    """What is kept of a page. `newest`: time and number of its newest revision, and time of the newest change of it.

    `hidden`: revisions whose text is hidden. `is_shown`: whether its tokens are in the table.
    """

    newest: list[int] = field(default_factory=lambda: [0, 0, 0])
    sha1: str = ""
    packed: str | None = None
    hidden: list[int] = field(default_factory=list)
    is_shown: bool = False


def on_event(state: Any, event: dict[str, Any], context: Context) -> Transition:
    """The change of the words of a page."""
    page, kind, rev_id = Tokens(**state or {}), event["page_change_kind"], event["revision"]["rev_id"]
    if pages.newest(event).model != "wikitext":
        context.metrics.counter("skipped_content_model")
        return Transition(state)
    version = version_of(event)
    if kind in pages.EDITS:
        if version[:2] > page.newest[:2]:
            return _revision(page, event, context, is_first=state is None)
        if rev_id != page.newest[1]:
            _request(event, "out_of_order", context)
        return Transition(state, dropped="out_of_order")
    if state is None:
        if kind == "undelete":
            _request(event, "history_missing", context)
        return Transition(None)
    is_changed, is_newer = _note_hidden(page, event), version > page.newest
    if is_newer and rev_id == page.newest[1]:
        page.newest = version
    is_news = is_newer or (is_changed and page.is_shown)
    return _after(page, _shown(page, event, context, is_deleted=kind == "delete") if is_news else [])


def _revision(page: Tokens, event: dict[str, Any], context: Context, *, is_first: bool) -> Transition:
    """The change that a newer revision made."""
    own, about = pages.newest(event), {**pages.about(event), "rev_id": event["revision"]["rev_id"]}
    if reason := _gap(page, event, is_first):
        _request(event, reason, context)
    page.newest, page.sha1 = version_of(event), own.sha1
    _note_hidden(page, event)
    if own.text is None:
        context.emit({**about, "status": "hidden"}, to=CHANGES)
        return _after(page, _shown(page, event, context))
    found = provenance(
        packed=page.packed, revision=_for_wikiwho(event, own), chars_max=context.settings["page_chars_max"]
    )
    page.packed = found["packed"]
    if found["forgotten"]:
        context.metrics.counter("earlier_parts_forgotten", found["forgotten"])
    changed = {name: _public(page, found[name]) for name in ("added", "removed", "reintroduced")}
    context.emit({**about, **({"status": "spam"} if found["spam"] else {"status": "tokens", **changed})}, to=CHANGES)
    return _after(page, _shown(page, event, context, found["tokens"]))


def _after(page: Tokens, shown: list[dict[str, Any]]) -> Transition:
    # What `_shown` says is part of the state.
    return Transition(asdict(page), events=shown)


def _gap(page: Tokens, event: Mapping[str, Any], is_first: bool) -> str | None:
    """Why the words may be taken for those of this revision although an earlier one brought them; None if not."""
    parent_id = pages.parent_of(event)
    if parent_id == 0 or parent_id == page.newest[1]:
        return None
    if is_first:
        return "history_missing"
    prior = pages.prior_revision(event)
    is_same_text = prior.get("rev_id") == parent_id and bool(page.sha1) and pages.sha1_of(prior) == page.sha1
    return None if is_same_text else "parent_missing"


def _for_wikiwho(event: Mapping[str, Any], own: pages.Page) -> dict[str, Any]:
    revision = event["revision"]
    given: dict[str, Any] = {"revid": own.rev_id, "*": own.text, "timestamp": own.rev_dt, "comment": ""}
    if own.sha1:
        given["sha1"] = own.sha1
    editor = revision.get("editor")
    if revision.get("is_editor_visible") is not False and isinstance(editor, Mapping):
        given |= {"user": editor.get("user_text") or "", "userid": editor.get("user_id") or 0}
    if revision.get("is_comment_visible") is not False and isinstance(revision.get("comment"), str):
        given["comment"] = revision["comment"]
    # It looks for the key only.
    return {**given, "minor": ""} if revision.get("is_minor_edit") is True else given


def _note_hidden(page: Tokens, event: Mapping[str, Any]) -> bool:
    """Remember whether the text of the revision is hidden; whether that is news."""
    visible, rev_id = event["revision"].get("is_content_visible"), event["revision"]["rev_id"]
    if visible is False and rev_id not in page.hidden:
        page.hidden = [*page.hidden, rev_id][-HIDDEN_MAX:]
    elif visible is True and rev_id in page.hidden:
        page.hidden.remove(rev_id)
    else:
        return False
    return True


def _shown(
    page: Tokens, event: Mapping[str, Any], context: Context, tokens: Any = None, *, is_deleted: bool = False
) -> list[dict[str, Any]]:
    """The row of the tokens that the page has now; or that it has none to be seen."""
    about = {**pages.about(event), "rev_id": page.newest[1]}
    context.cancel(FORGET)
    if is_deleted:
        context.timer(FORGET, after=DELETED_TTL, fires_when_idle=False)
    was_shown = page.is_shown
    page.is_shown = not is_deleted and page.newest[1] not in page.hidden and page.packed is not None
    if not page.is_shown:
        return [{**about, "changelog_kind": "delete"}] if was_shown else []
    if tokens is None:
        chars_max = context.settings["page_chars_max"]
        tokens = provenance(packed=page.packed, revision=None, chars_max=chars_max)["tokens"]
    tokens, total = tokens[: context.settings["tokens_max"]], len(tokens)
    kind = "update" if was_shown else "insert"
    return [{**about, "changelog_kind": kind, "tokens": _public(page, tokens), "tokens_total": total}]


def _public(page: Tokens, tokens: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the words that hidden revisions brought."""
    hidden = frozenset(page.hidden)
    return [
        {name: value for name, value in token.items() if name != "str" or token["o_rev_id"] not in hidden}
        for token in tokens
    ]


def _request(event: Mapping[str, Any], reason: str, context: Context) -> None:
    about = {**pages.about(event), "rev_id": event["revision"]["rev_id"]}
    context.emit({**about, "reason": reason}, to=REBUILD)


revision_tokens = Job(
    "revision_tokens",
    ("mediawiki.page_content_change.v1",),
    steps=(
        Each("checked", checked),
        Dedupe().step("dedupe"),
        PerKey("tokens", pages.key, on_event, forgotten, timers_emit=False),
    ),
    output=ToStream(CURRENT, "1.0.0"),
    outputs=(ToStream(CHANGES, "1.0.0"), ToStream(REBUILD, "1.0.0")),
    settings=SETTINGS,
    summary="Which words each revision of a page added, removed and brought back.",
)


def is_removed(event: dict[str, Any]) -> bool:
    return bool(event["changelog_kind"] == "delete")


@table(source=CURRENT, key=("wiki_id", "page_id"), version=("rev_id", "dt"), delete=is_removed)
def page_tokens(event: dict[str, Any]) -> dict[str, Any]:
    """The words of each page with the revisions that brought, removed and brought them back."""
    return {name: event[name] for name in ("page_title", "rev_id", "tokens", "tokens_total") if name in event}
