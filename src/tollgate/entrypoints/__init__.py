"""Entrypoints: all the wiring. The web server, the worker, the command line, and errors as the edge tells them."""
