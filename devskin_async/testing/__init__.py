"""For tests of programs that use the client: an event loop on a clock of its own."""

from .virtual_time import VirtualTimeLoop, virtual_time

__all__ = ["VirtualTimeLoop", "virtual_time"]
