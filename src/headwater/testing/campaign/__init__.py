"""The kill campaign: a whole platform is killed again and again while clients repeat; then everything is compared."""
