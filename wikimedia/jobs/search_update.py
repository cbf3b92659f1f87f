"""What a search index has to do about pages: merged within some minutes, and change by change."""

from ..content.search_updates import SearchUpdates

MERGE_MS = 5 * 60_000

search_update = SearchUpdates(MERGE_MS).job(
    "search_update", "mediawiki.search_update.v1", "Documents of a search index, those of five minutes as one."
)
search_update_each = SearchUpdates(0).job(
    "search_update_each", "mediawiki.search_update_each.v1", "Documents of a search index, one for each change."
)
