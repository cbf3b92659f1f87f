"""`headwater demo --wikimedia`: an invented wiki, and what the jobs of Wikimedia's use cases make of its edits."""
