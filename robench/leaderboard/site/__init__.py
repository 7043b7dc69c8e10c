"""The leaderboards as a static site: an index, a page a board and a page a model, from the published files alone."""
