"""Servers that share meetings, on one machine: what becomes of them when parts of it die."""
