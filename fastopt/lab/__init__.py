"""The command line: compare the optimizers on real data, and print what runs here.

Nothing in the package imports it. It is no training framework.
"""
