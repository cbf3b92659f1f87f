"""How the processes of one platform on one machine call each other."""
