"""`headwater demo`: the demonstration, its data and its own arithmetic."""
