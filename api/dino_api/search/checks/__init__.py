"""What is wrong, or odd, with a search: each check yields problems by the ids of `rules.search`."""
