"""The conversation as it is read: what was asked, what was answered, what is being answered.

It draws lines, not widgets: a message is a list of wrapped lines, made when it comes into view. The
cost of a frame is that of the lines on the screen, however long the conversation is.
"""
