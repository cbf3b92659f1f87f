"""Where events are kept, in order: one contract, one implementation per store."""
