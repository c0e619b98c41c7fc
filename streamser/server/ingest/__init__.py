"""Bots that sit in meetings and send everybody's sound on one socket: each kind a translator."""
