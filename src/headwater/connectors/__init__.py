"""How events come from and go to other systems: one contract each way, one file per system."""
