"""Continuous SQL: a query as the steps of a job."""
