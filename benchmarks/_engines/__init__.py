"""The engines that are compared: one module each, measured in a process of its own.

A module has one function, `measure(work) -> Measured`. `python -m benchmarks._engines ENGINE` runs it.
"""

from benchmarks._engines._work import Durability, Measured, Stopwatch, Work, durability_of, threads_drive

__all__ = ["Durability", "Measured", "Stopwatch", "Work", "durability_of", "threads_drive"]
