"""Projects to deploy, and the strict schemas of what is rendered for them."""
