"""Opponents: gateways of others, each installed by package name into an environment of its own."""

from scripts.benchmarks.contestants import Contestant
from scripts.benchmarks.opponents.litellm import LITELLM, LITELLM_WITH_DATABASE
from scripts.benchmarks.opponents.portkey import PORTKEY

OPPONENTS: tuple[Contestant, ...] = (LITELLM_WITH_DATABASE, LITELLM, PORTKEY)
