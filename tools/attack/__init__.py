"""Attacks on a server, a client and the readers of files, by their public doors alone."""
