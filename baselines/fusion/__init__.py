"""PIFu with 2D priors."""
