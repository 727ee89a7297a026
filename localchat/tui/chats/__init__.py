"""Conversations that are open, and the threads that make their turns: no widgets."""
