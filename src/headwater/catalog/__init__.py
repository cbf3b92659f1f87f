"""How people and their tools find streams: exports made of the declarations alone."""
