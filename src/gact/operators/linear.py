"""Products: the gradient of each factor is linear in the others."""

from __future__ import annotations

from .magnitudes import of_one_magnitude
from .need import SHAPE, VALUE, entries, exact, merged

_VALUES = """
    AddbmmBackward0 batch1 batch2
    AddcmulBackward0 tensor1 tensor2
    AddmmBackward0 mat1 mat2
    AddmvBackward0 mat vec
    AddrBackward0 vec1 vec2
    BaddbmmBackward0 batch1 batch2
    BmmBackward0 self mat2
    ConvDepthwise2DBackward0 self weight
    ConvDepthwise3DBackward0 self weight
    ConvTbcBackward0 self weight
    ConvolutionBackward0 input weight
    ConvolutionBackward1 input weight
    ConvolutionOverrideableBackward0 input weight
    CudnnConvolutionBackward0 self weight
    CudnnConvolutionTransposeBackward0 self weight
    DotBackward0 self tensor
    EmbeddingBagBackward0 weight per_sample_weights
    GroupedMmBackward0 self mat2
    LerpBackward1 self end weight
    LinalgCrossBackward0 self other
    LinearBackward0 input weight
    MatmulBackward0 self other
    MiopenConvolutionBackward0 self weight
    MiopenConvolutionTransposeBackward0 self weight
    MiopenDepthwiseConvolutionBackward0 self weight
    MkldnnConvolutionBackward0 self weight
    MkldnnLinearBackward0 self weight
    MmBackward0 self mat2
    MpsConvolutionBackward0 self weight
    MpsConvolutionTransposeBackward0 self weight
    MvBackward0 self vec
    NnpackSpatialConvolutionBackward0 input weight
    SlowConv2DBackward0 self weight
    SlowConv3DBackward0 self weight
    SlowConvDilated2DBackward0 self weight
    SlowConvDilated3DBackward0 self weight
    SlowConvTranspose2DBackward0 self weight
    SlowConvTranspose3DBackward0 self weight
    SparseAddmmBackward0 mat2
    SparseMmReduceImplBackward0 other
    TrilinearBackward0 i1 i2 i3
    VdotBackward0 self other
"""

_DIVISORS = """
    AddcdivBackward0 tensor2
    DivBackward0 other
"""

_SPARSE = """
    SparseAddmmBackward0 mat1
    SparseMmReduceImplBackward0 self
    SparseSampledAddmmBackward0 self mat1 mat2
    SparseSparseMatmulBackward0 self other
"""

LINEAR = merged(
    entries(of_one_magnitude, "AddcdivBackward0 tensor1\nDivBackward0 self"),
    entries(VALUE, _VALUES),
    entries(exact("divided by"), _DIVISORS),
    entries(exact("sparse"), _SPARSE),
    entries(SHAPE, "ConvTbcBackward0 bias"),
    entries(exact("index"), "GroupedMmBackward0 offs\nSparseMmReduceImplBackward0 result1"),
)
