"""Runs the benchmark."""

from benchmarks.semantic.run import main

main()
