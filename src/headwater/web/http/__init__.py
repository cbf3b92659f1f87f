"""HTTP itself: the protocol, bodies, headers, hosts, preflights and seats, whatever the endpoint."""
