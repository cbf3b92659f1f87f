"""How events go out: subscriptions, filters, resume positions and the fan-out to many clients."""
