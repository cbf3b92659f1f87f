"""How a job reads another system: its connector as a source, and what it has delivered as elements."""
