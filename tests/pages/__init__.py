"""The pages of the documentation: their fenced blocks, and a reader who does what they show."""
