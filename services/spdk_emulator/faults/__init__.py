"""Faults on request: what a tester tells the emulator to do wrong, and the places where it does so."""
