"""Async client for the DevSkin Marketplace store API."""
