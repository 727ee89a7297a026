"""The chat screen: a terminal interface on the session and the client, by Textual."""
