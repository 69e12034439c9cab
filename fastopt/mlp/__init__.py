"""A small neural network and its training loop. Needs NumPy alone: no estimator, no scikit-learn.

settings.py says how to train, network.py computes outputs and gradients, batches.py supplies batches, training.py runs
the loop, recording.py keeps the history, checkpoint.py saves a fit and continues it.
"""
