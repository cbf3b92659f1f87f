"""Lookups in wikis that run MediaWiki."""

from headwater.lookups.mediawiki.lookup import PROPS, MediaWiki
from headwater.lookups.mediawiki.revision import Revision, Slot
from headwater.lookups.mediawiki.sha1 import base16, base36

__all__ = ["PROPS", "MediaWiki", "Revision", "Slot", "base16", "base36"]
