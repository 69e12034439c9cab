"""A small neural network and its training loop. Needs NumPy alone: no estimator, no scikit-learn."""
