"""Monitors streams: canary events, complete hours, and reconciliation of counts."""
