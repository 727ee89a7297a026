"""Answers a file of prompts, row by row; what is finished survives whatever comes.

`localchat.batch.run` is the whole of a run; the command and scripts stand on it.
"""
