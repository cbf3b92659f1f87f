"""Where events go: one file per target, named in `headwater.connectors.registry`."""
