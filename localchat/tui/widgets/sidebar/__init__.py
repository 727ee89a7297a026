"""The conversations at the side of the chat screen."""
