"""Convolutions that train fast on CPU on small feature maps, such as the last maps of small images. Results equal torch's up to
rounding.

oneDNN, which computes torch's convolutions, is optimised for large maps. It has no code for the gradient of a depthwise kernel
larger than the map and multiplies matrices of one image and one channel each, which takes 50 times as long as summing up
directly. And it reorders the weights of a 1 × 1 convolution at each call, which takes longer than the product if there are few
positions. Avoiding both trains the last three blocks of MobileNetV3-Small at 64 px three times faster
(`benchmarks/small_maps.py`).

Frozen layers use torch's convolutions, so that frozen blocks compute the same bits whether others train or not.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

POSITIONS = 1024
"""Largest number of positions in all maps of a batch at which a matrix product is faster than oneDNN's 1 × 1 convolution, for
any number of channels."""


class DepthwiseConv2d(nn.Conv2d):
    """Depthwise `nn.Conv2d`, with one group per channel."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolves [b, c, h, w] -> [b, c, h', w']."""
        if not _trains(self, x):
            return super().forward(x)
        y: Tensor = _Depthwise.apply(x, self.weight, self.stride, self.padding, self.dilation)  # type: ignore[no-untyped-call]
        return y if self.bias is None else y + self.bias[:, None, None]


class PointwiseConv2d(nn.Conv2d):
    """Pointwise `nn.Conv2d`, with a 1 × 1 kernel and one group."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolves [b, c, h, w] -> [b, c', h, w]."""
        if not _trains(self, x) or x.numel() > POSITIONS * x.shape[1]:
            return super().forward(x)
        return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


def train_fast_on_small_maps(model: nn.Module) -> None:
    """Replaces the depthwise and 1 × 1 convolutions of a network on the CPU by those above, in place; names and weights stay."""
    for module in model.modules():
        if type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str):
            if module.groups == module.in_channels == module.out_channels:
                module.__class__ = DepthwiseConv2d
            elif module.groups == 1 and (module.kernel_size, module.stride, module.padding) == ((1, 1), (1, 1), (0, 0)):
                module.__class__ = PointwiseConv2d


def _trains(convolution: nn.Conv2d, x: Tensor) -> bool:
    return (
        convolution.weight.requires_grad
        and torch.is_grad_enabled()
        and x.ndim == 4
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


class _Depthwise(torch.autograd.Function):
    """Depthwise convolution whose kernel gradient is summed position by position where that is faster."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.steps = stride, padding, dilation
        return F.conv2d(x, weight, None, stride, padding, dilation, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        (grad_y,), (x, weight), (stride, padding, dilation) = grads, ctx.saved_tensors, ctx.steps
        summed = ctx.needs_input_grad[1] and _sums_are_faster(x.shape, grad_y.shape, weight.shape)
        wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[1] and not summed, False]
        grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
            grad_y, x, weight, None, stride, padding, dilation, False, (0, 0), len(weight), wanted
        )
        if summed:
            grad_weight = _kernel_gradient(grad_y, x, weight.shape, stride, padding, dilation)
        return grad_x, grad_weight, None, None, None


def _sums_are_faster(inputs: torch.Size, outputs: torch.Size, weight: torch.Size) -> bool:
    """Returns True if summing is faster than oneDNN, which has fast code for 3 × 3 kernels, but not on maps smaller than that."""
    kernel = weight[2:]
    small = any(size < k for size, k in zip(outputs[2:], kernel, strict=True))
    return small and (max(kernel) > 3 or any(size < k for size, k in zip(inputs[2:], kernel, strict=True)))


def _kernel_gradient(
    grad_y: Tensor,
    x: Tensor,
    shape: torch.Size,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> Tensor:
    """Gradient of the kernel, [c, 1, kh, kw]: at each of its positions, the sum of inputs times gradients of their outputs."""
    x, grad_y = (t.permute(0, 2, 3, 1).contiguous() for t in (x, grad_y))  # a view of channels-last
    _, _, height, width = shape
    rows, columns = (
        _meetings(size, x.shape[axis], grad_y.shape[axis], stride=stride[i], padding=padding[i], dilation=dilation[i])
        for i, (axis, size) in enumerate(((1, height), (2, width)))
    )
    gradient = x.new_zeros(height, width, x.shape[3])
    for row, x_rows, y_rows in rows:
        for column, x_columns, y_columns in columns:
            met = x[:, x_rows, x_columns] * grad_y[:, y_rows, y_columns]
            torch.sum(met, (0, 1, 2), out=gradient[row, column])
    return gradient.permute(2, 0, 1).unsqueeze(1)


def _meetings(
    kernel: int, inputs: int, outputs: int, *, stride: int, padding: int, dilation: int
) -> list[tuple[int, slice, slice]]:
    """Positions of the kernel along an axis that overlap the input: position, inputs that it multiplies, and their outputs."""
    meetings = []
    for position in range(kernel):
        shift = position * dilation - padding
        first, end = max(0, -(shift // stride)), min(outputs, (inputs - 1 - shift) // stride + 1)
        if first < end:
            start = first * stride + shift
            meetings.append((position, slice(start, start + (end - first) * stride, stride), slice(first, end)))
    return meetings
