"""Bulk export: a store's resources as files, each standing under its name only when whole."""

from .formats import Format
from .run import Exported, OnProgress, export
from .sources import Resource

__all__ = ["Exported", "Format", "OnProgress", "Resource", "export"]
