"""The command line: one thin file per verb, assembled in ``main``."""
