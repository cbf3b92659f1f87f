"""What jobs ask other services: an HTTP client that is polite to hosts, and lookups in wikis."""

from headwater.lookups.lookups import Lookups, open_lookups
from headwater.lookups.mediawiki import MediaWiki, Revision, Slot
from headwater.lookups.response import Response

__all__ = ["Lookups", "MediaWiki", "Response", "Revision", "Slot", "open_lookups"]
