"""The command line: arguments come in, what a person or a program reads goes out."""
