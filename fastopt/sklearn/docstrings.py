"""What the docstrings of classifier and regressor have in common: parameters, attributes. Words alone."""

from __future__ import annotations

import inspect

PARAMETERS = """
    Parameters
    ----------
    hidden_layer_sizes : a sequence of ints >= 1, the units of the hidden layers; () for {without}.
    activation : "relu", "tanh", "gelu" (the form with tanh) or "identity".
    optimizer : "sgd", "momentum", "nag", "adagrad", "adadelta", "rmsprop", "adam" or "adamw"; or an optimizer whose
        class, convention and settings are taken over; or a class; or a functools.partial of one. set_params and
        GridSearchCV take its settings as optimizer__momentum and the like.
    lr : a number >= 0; a schedule (steps done -> number); "search": by a learning-rate range test (Smith 2017) before
        the training, see lr_ and lr_search_; None: the optimizer's own.
    batch_size : 1 (stochastic), n (mini-batches, the last one smaller) or None (the full batch).
    epochs : >= 1, passes over the samples, if early stopping does not end them.
    l1, l2 : >= 0, penalties l1·|W| + l2/2·W² of the weights, not of biases; None: the optimizer's own. The losses
        in history_ are without them.
    decoupled : l2 as decoupled weight decay, W ← (1 − η l2) W.
    dropout : in [0, 1], the chance of each hidden unit to be dropped (Srivastava et al. 2014).
    batch_norm : normalize each hidden layer's products before its activation (Ioffe and Szegedy 2015). A last batch of
        one sample, which has no variance, is left out.
    input_noise, weight_noise : >= 0, standard deviations of Gaussian noise on inputs and weights.{smoothing}
    mixup, cutmix : the α >= 0 of Beta(α, α), 0 without; with both, one of them for each batch. A mixture has the
        mixture of its samples' weights.
    augment : a transform of fastopt.regularization, or a function (samples, rng=) that returns as many new ones.
    sample_shape : what a row of X is for augment and cutmix, such as (channels, height, width).
    early_stopping : True, or an EarlyStopping with its own patience: stop when the validation does not improve, and
        keep the best weights. It watches the loss, or with mode="max" the score. Without X_val a part of X is held out.
    validation_fraction : in (0, 1), that part.
    max_norm : > 0, of the weights into each unit; longer ones are scaled back after each step.{class_weight}
    warm_start : fit goes on from the weights of the last one, with a new optimizer (partial_fit: with the old one).
    random_state : None, an int, a RandomState or a numpy.random.Generator.
    verbose : True, or an int > 0 as in scikit-learn: a progress bar on stderr (needs rich).
    callbacks : functions (estimator, epoch, logs), called behind each epoch, when the estimator can already predict;
        one that returns True ends the training. A copy made there goes on with a new optimizer.

    Attributes
    ----------
    coefs_, intercepts_, batch_norms_ : per layer (float32). history_ : lists by epoch: loss, lr, seconds and, with
        validation, val_loss and val_score (accuracy or R²). loss_curve_, best_loss_, validation_scores_,
        best_validation_score_ : scikit-learn's names for its parts. n_iter_ : epochs. t_ : samples seen. loss_ : of the
        last epoch. lr_, lr_search_ : the rate, and what the search for it tried.

    Samples are float32 in training; predictions have the precision of the X they are made for.
"""

WITHOUT = {True: "logistic or softmax regression (two classes are a softmax of two logits)", False: "linear regression"}
SMOOTHING = "\n    label_smoothing : ε in [0, 1]; targets are (1 − ε) t + ε/K."
CLASS_WEIGHT = (
    '\n    class_weight : None, "balanced" or a dict {label: weight >= 0} (1 for others); times the sample weights.'
)


def complete(estimator: type, *, classes: bool) -> None:
    """Puts them between the first line of a class's docstring and its example."""
    own = {
        "without": WITHOUT[classes],
        "smoothing": SMOOTHING if classes else "",
        "class_weight": CLASS_WEIGHT if classes else "",
    }
    head, _, example = inspect.cleandoc(estimator.__doc__ or "").partition("\n\n")
    estimator.__doc__ = head + "\n" + inspect.cleandoc("x" + PARAMETERS.format(**own))[1:] + "\n\n" + example
