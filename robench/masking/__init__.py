"""Where the person is: maskers that look (rembg's networks, ours) and those that are told (given, corrupted, none)."""
