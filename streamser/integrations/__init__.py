"""Emotion where agents are built: a module for each framework, which alone imports it."""
