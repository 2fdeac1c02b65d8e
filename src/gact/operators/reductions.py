"""Reductions, distances and decompositions."""

from __future__ import annotations

from .need import NORMALISED, entries, exact, merged

# The deviation from the mean, times numbers that are exact.
_DEVIATIONS = """
    StdBackward0 self
    StdMeanBackward0 self
    VarBackward0 self
    VarMeanBackward0 self
"""

# See ``comparisons.py``.
_WINNERS = """
    AmaxBackward0 self result
    AminBackward0 self result
    IndexReduceBackward0 self source result
    MaxBackward1 self result
    MedianBackward0 self result
    MinBackward1 self result
    NanmedianBackward0 self result
    ScatterReduceBackward0 self src result
"""

_EQUALITIES = """
    AminmaxBackward0 self min max
    NansumBackward0 self
    SegmentReduceBackward0 data result
"""

_DISTANCES = """
    CdistBackward0 x1 x2 result
    DistBackward0 self other result
    EuclideanDistBackward0 x1 x2 result
    LinalgVectorNormBackward0 self result
    NormBackward0 self result
    NormBackward1 self result
    NormBackward2 self result
    NormBackward3 self result
    PdistBackward0 self result
    RenormBackward0 self
"""

_PRODUCTS_OF_ALL = """
    CholeskyBackward0 result
    CholeskyInverseBackward0 self result
    CholeskySolveBackward0 self input2 result
    CumprodBackward0 self result
    LinalgCholeskyExBackward0 L
    LinalgDetBackward0 A LU pivots result
    LinalgEigBackward0 eigenvalues eigenvectors
    LinalgEighBackward0 eigenvalues eigenvectors
    LinalgHouseholderProductBackward0 input tau result
    LinalgInvExBackward0 inverse
    LinalgLstsqBackward0 self b solution
    LinalgLuBackward0 P L U
    LinalgLuFactorExBackward0 LU pivots
    LinalgLuSolveBackward0 LU pivots result
    LinalgMatrixExpBackward0 self
    LinalgMatrixSqrthBackward0 self
    LinalgPinvBackward0 self result
    LinalgPolarBackward0 A U H
    LinalgQrBackward0 Q R
    LinalgSlogdetBackward0 A sign LU pivots
    LinalgSolveExBackward0 A LU pivots result
    LinalgSolveTriangularBackward0 self result
    LinalgSvdBackward0 U S Vh
    OrmqrBackward0 self input2 input3 result
    ProdBackward0 self result
    ProdBackward1 self result
    TriangularSolveBackward0 self A solution
"""

PRODUCTS_OF_ALL = exact("products of all")

REDUCTIONS = merged(
    entries(NORMALISED, _DEVIATIONS),
    entries(exact("statistic"), "StdBackward0 result\nStdMeanBackward0 result0"),
    entries(exact("compared with the winner"), _WINNERS),
    entries(exact("compared for equality"), _EQUALITIES),
    entries(exact("distance"), _DISTANCES),
    entries(PRODUCTS_OF_ALL, _PRODUCTS_OF_ALL),
    entries(exact("index"), "IndexReduceBackward0 index\nScatterReduceBackward0 index"),
    entries(exact("index"), "SegmentReduceBackward0 lengths offsets"),
)
