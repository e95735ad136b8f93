"""What the scripts ``infra/show_*.py`` and the tests of ``infra`` stand on: hosts and services without containers."""
