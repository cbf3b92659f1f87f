"""What each edit changed in the text of a page, line by line."""

from typing import Any

from headwater.jobs import Context, Each, Job, ToStream

from ..content import pages
from ..content.lines import line_diff
from ..content.parents import Parents

# The content models whose contents people write as text.
MODELS = frozenset({"wikitext", "text", "css", "sanitized-css", "javascript", "vue", "json", "Scribunto"})
DIFF_BYTES_MAX = 1_048_576


def difference(event: dict[str, Any], context: Context) -> dict[str, Any] | None:
    """The unified diff of a revision and its parent, or the reason why there is none; nothing for equal texts."""
    compared = event["compared"]
    if compared["model"] not in MODELS:
        context.metrics.counter("skipped_content_model")
        return None
    found = {**pages.about(event), "rev_id": compared["rev_id"], "parent_id": compared["parent_id"]}
    if compared["reason"] is not None:
        return {**found, "diff": None, "reason": compared["reason"]}
    made = line_diff(compared["before"], compared["after"])
    if not made.diff:
        return None
    counts = {"lines_added": len(made.added), "lines_removed": len(made.removed)}
    encoded = made.diff.encode("utf-8", "surrogatepass")
    if len(encoded) <= DIFF_BYTES_MAX:
        return {**found, "diff": made.diff, **counts}
    return {**found, "diff": encoded[:DIFF_BYTES_MAX].decode("utf-8", "ignore"), **counts, "truncated": True}


checked, dedupe, compare = pages.comparing()
revision_diff = Job(
    "revision_diff",
    ("mediawiki.page_content_change.v1",),
    steps=(checked, Parents().step(), dedupe, compare, Each("difference", difference)),
    output=ToStream("research.revision_diff.v1", "1.0.0"),
    summary="What each edit changed in the text of a page, line by line.",
)
