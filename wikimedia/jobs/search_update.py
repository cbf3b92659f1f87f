"""What a search index has to do about pages: merged within some minutes, and change by change."""

from ..content.search_updates import SearchUpdates

search_update = SearchUpdates("5m").job(
    "search_update", "mediawiki.search_update.v1", "Documents of a search index, those of five minutes as one."
)
search_update_each = SearchUpdates("0s").job(
    "search_update_each", "mediawiki.search_update_each.v1", "Documents of a search index, one for each change."
)
