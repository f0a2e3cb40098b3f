"""`python -m syncd.cli`: the same as the `syncd` command."""

from syncd.cli import main

main()
