"""Exports of the declarations by which people and their tools find streams."""
