"""The soak test: a platform under load and a churn of clients, whose memory, handles and latency stay constant."""
