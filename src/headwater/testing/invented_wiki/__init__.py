"""A small wiki that people can edit: its API, its pages with a cache in front, and the events that it posts."""

from headwater.testing.invented_wiki.pages import InventedWiki, Saved

__all__ = ["InventedWiki", "Saved"]
