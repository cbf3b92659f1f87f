"""The soak: a platform under steady load and a churn of clients, whose memory, handles and answers stay as they are."""
