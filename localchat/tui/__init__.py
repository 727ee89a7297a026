"""The chat screen: a terminal interface on the session and the client, by Textual."""

import os

# How often Textual looks whether there is something to draw, times a second: a key waits for that.
# It has to be set before Textual is imported.
os.environ.setdefault("TEXTUAL_FPS", "240")
