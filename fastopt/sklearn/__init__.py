"""scikit-learn estimators on fastopt's optimizers, regularization and kernels. `import fastopt` does not load this."""

from fastopt._optional import require

require("sklearn.base", "fastopt.sklearn", "sklearn", "scikit-learn")

from fastopt.mlp.fit_many import fit_many  # noqa: E402
from fastopt.sklearn.estimators import MLPClassifier, MLPRegressor  # noqa: E402

__all__ = ["MLPClassifier", "MLPRegressor", "fit_many"]
