"""Opponents: gateways of others, each installed by package name into an environment of its own."""

from scripts.benchmarks.contestants import Contestant

OPPONENTS: tuple[Contestant, ...] = ()
