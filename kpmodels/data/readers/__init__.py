"""Readers: one module per form of labels; each turns a folder into a ``Drop``."""
