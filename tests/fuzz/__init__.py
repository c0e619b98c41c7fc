"""Fuzzing of all that parses foreign bytes: ``make fuzz TARGET=messages MINUTES=10``.

A target turns bytes into what a stranger may hand over (messages, a sound file, a checkpoint, a
configuration), hands it to the program and raises where a promise is broken. The cases are made
by mutating good examples; atheris, where it is installed, keeps those that reach new lines.
Everything runs in a child process, so that crashes of native code, cases without end and cases
that eat the memory are caught too.
"""
