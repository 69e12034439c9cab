"""scikit-learn estimators over fastopt.mlp. `import fastopt` does not load this package.

estimators.py has the classes, samples.py prepares X and y for the training, fit_many.py fits many estimators
together, progress.py draws the progress bar.
"""

from fastopt._optional import require

require("sklearn.base", "fastopt.sklearn", "sklearn", "scikit-learn")

from fastopt.sklearn.estimators import MLPClassifier, MLPRegressor  # noqa: E402
from fastopt.sklearn.fit_many import fit_many  # noqa: E402

__all__ = ["MLPClassifier", "MLPRegressor", "fit_many"]
