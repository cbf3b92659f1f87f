"""`headwater errors`: events that jobs could not process."""
