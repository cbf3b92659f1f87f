"""The description of the HTTP interface in OpenAPI, and as a page."""
