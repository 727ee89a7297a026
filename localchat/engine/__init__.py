"""Turns requests into tokens: which rows run next, what the model sees, when a reply is over.

Policy is pure Python on deques and integers. Only `runner` and `load` touch `localchat.llama`.
"""
