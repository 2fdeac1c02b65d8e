"""Ops that move elements: backward reads indices and bool masks, and of the rest only the shape."""

from __future__ import annotations

from .need import SHAPE, VALUE, entries, exact, merged

_SHAPES = """
    AdaptiveAvgPool2DBackward0 self
    AdaptiveAvgPool3DBackward0 self
    AdaptiveMaxPool2DBackward0 self
    AdaptiveMaxPool3DBackward0 self
    AvgPool2DBackward0 self
    AvgPool3DBackward0 self
    ComplexBackward0 imag real
    CummaxBackward0 self
    CumminBackward0 self
    FftR2CBackward0 self
    FractionalMaxPool2DBackward0 self
    FractionalMaxPool3DBackward0 self
    GatherBackward0 self
    IndexAddBackward0 source
    IndexCopyBackward0 source
    MaskedSelectBackward0 self
    MaxPool2DWithIndicesBackward0 self
    MaxPool3DWithIndicesBackward0 self
    PutBackward0 source
    ReflectionPad1DBackward0 self
    ReflectionPad2DBackward0 self
    ReflectionPad3DBackward0 self
    ReplicationPad1DBackward0 self
    ReplicationPad2DBackward0 self
    ReplicationPad3DBackward0 self
    TakeBackward0 self
"""

_INDICES = """
    AdaptiveMaxPool2DBackward0 result1
    AdaptiveMaxPool2DBackwardBackward0 indices
    AdaptiveMaxPool3DBackward0 result1
    AdaptiveMaxPool3DBackwardBackward0 indices
    CummaxBackward0 indices
    CumminBackward0 indices
    EmbeddingBackward0 indices
    EmbeddingBagBackward0 indices offsets result1 result2 result3
    EmbeddingDenseBackwardBackward0 indices
    FractionalMaxPool2DBackward0 result1
    FractionalMaxPool2DBackwardBackward0 indices
    FractionalMaxPool3DBackward0 result1
    FractionalMaxPool3DBackwardBackward0 indices
    GatherBackward0 index
    IndexAddBackward0 index
    IndexBackward0 indices
    IndexCopyBackward0 index
    IndexFillBackward0 index
    IndexFillBackward1 index
    IndexPutBackward0 indices
    IndexPutImplBackward0 indices
    IndexSelectBackward0 index
    KthvalueBackward0 indices
    MaxBackward0 indices
    MaxPool2DWithIndicesBackward0 result1
    MaxPool2DWithIndicesBackwardBackward0 indices
    MaxPool3DWithIndicesBackward0 result1
    MaxPool3DWithIndicesBackwardBackward0 indices
    MaxUnpool2DBackward0 indices
    MaxUnpool3DBackward0 indices
    MedianBackward1 indices
    MinBackward0 indices
    ModeBackward0 indices
    NanmedianBackward1 indices
    PackPaddedSequenceBackward0 result1
    PutBackward0 index
    ScatterAddBackward0 index
    ScatterBackward0 index
    ScatterBackward1 index
    SortBackward0 indices
    SortBackward1 indices
    TakeBackward0 index
    TopkBackward0 indices
    UnsafeIndexBackward0 indices
    UnsafeIndexPutBackward0 indices
    UnsafeMaskedIndexBackward0 indices
    UnsafeMaskedIndexPutAccumulateBackward0 indices
"""

_MASKS = """
    FakeQuantizePerChannelAffineCachemaskBackward0 mask
    FakeQuantizePerTensorAffineCachemaskBackward0 mask
    FakeQuantizePerTensorAffineCachemaskTensorQparamsBackward0 mask
    FusedDropoutBackward0 result1
    FusedMovingAvgObsFqHelperBackward0 mask
    MaskedFillBackward0 mask
    MaskedFillBackward1 mask
    MaskedScatterBackward0 mask
    MaskedScatterBackwardBackward0 mask
    MaskedSelectBackward0 mask
    NativeDropoutBackward0 result1
    UnsafeMaskedIndexBackward0 mask
    UnsafeMaskedIndexPutAccumulateBackward0 mask
    WhereBackward0 condition
"""

_SPARSE = """
    SparseCompressedTensorBackward0 values result
    SparseCooTensorWithDimsAndTensorsBackward0 result
    SparseMaskBackward0 mask
    SparseSumBackward0 self
    ToDenseBackward0 self
    ValuesBackward0 self
"""

_IMAGES = """
    CudnnGridSamplerBackward0 self
    GridSampler2DBackward0 input
    GridSampler2DCpuFallbackBackward0 input
    GridSampler3DBackward0 input
"""

_GRIDS = """
    CudnnGridSamplerBackward0 grid
    GridSampler2DBackward0 grid
    GridSampler2DCpuFallbackBackward0 grid
    GridSampler3DBackward0 grid
"""

PLACES = merged(
    entries(SHAPE, _SHAPES),
    entries(VALUE, _IMAGES),
    entries(exact("coordinates"), _GRIDS),
    entries(exact("index"), _INDICES),
    entries(exact("bool mask"), _MASKS),
    entries(exact("sparse"), _SPARSE),
)
