"""Benchmarks: each starts a process group in a temporary directory, drives calls over loopback, and ends it.

What is compared is measured in turns in one run, so that whatever else the machine does meets both alike; every figure
is a median over the rounds.
"""
