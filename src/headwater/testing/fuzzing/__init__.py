"""The fuzz campaign: mutated inputs for everything that accepts bytes from outside, and what must hold for them."""
