"""Entrypoints: all the wiring. The HTTP application, the worker, the command line, and errors as the edge tells them."""
