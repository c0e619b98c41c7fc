"""The same conversations, in real time, to this server and to those of others."""
