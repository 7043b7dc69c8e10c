"""What happens to a phone picture between shutter and server: the hand, the lens, the framing, the codecs."""
