"""The command line, extra ``[cli]``: one module for each command, imported when it runs."""
