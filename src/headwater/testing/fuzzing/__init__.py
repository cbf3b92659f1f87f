"""The fuzz campaign: changed inputs for everything that strangers and authors hand in, and what must hold for all."""
