"""The kill campaign: a whole platform is killed again and again while clients retry; then everything is compared."""
