"""The command line: compare the optimizers on real data, print what runs here.

Stands above everything else in the package and is imported by nothing; not a training framework.
"""
