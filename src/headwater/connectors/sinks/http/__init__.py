"""The HTTP sink: each event is a request, by any method, to a service or a web hook."""
