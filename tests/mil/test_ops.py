"""Every operator against torch, through files that coremltools wrote for two operator sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mobileclip_kit.mil.interpreter import Interpreter
from mobileclip_kit.mil.plan import OPS
from mobileclip_kit.mil.program import read_program

# float32 sums in another order than torch's.
RELATIVE, ABSOLUTE = 2e-5, 2e-5

_rng = np.random.default_rng(7)
_SHAPES = {"x": (2, 6, 8), "y": (6, 8), "image": (2, 8, 9, 10), "wide": (1, 4, 6, 8)}
INPUTS: dict[str, Any] = {name: _rng.normal(size=shape).astype(np.float32) for name, shape in _SHAPES.items()}
# Edge values: zeros of both signs, large and tiny magnitudes, exact halves for rounding.
INPUTS["x"][0, 0] = [0.0, -0.0, 1e-6, -1e-6, 30.0, -30.0, 0.5, -2.5]
INPUTS["positive"] = np.abs(_rng.normal(size=(2, 6, 8))).astype(np.float32) + 0.1
INPUTS["unit"] = _rng.uniform(-0.95, 0.95, size=(2, 6, 8)).astype(np.float32)
INPUTS["integers"] = _rng.integers(-9, 10, size=(2, 6, 8)).astype(np.int32)
INPUTS["index"] = np.array([[5, 0, 3], [1, 1, 4]], np.int32)


def _weights(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


W44, B4, C8, D8 = _weights(5, 8), _weights(5), _weights(6, 8, 3, 3), _weights(6)
DEPTH, DEPTH2, GROUPED, EVEN = _weights(8, 1, 3, 3), _weights(16, 1, 5, 5), _weights(6, 4, 3, 2), _weights(4, 8, 2, 4)
TRANSPOSED, GROUPED_TRANSPOSED, LINE = _weights(8, 5, 3, 3), _weights(8, 3, 2, 2), _weights(4, 6, 3)
GAMMA, BETA, MEAN, VARIANCE = _weights(8), _weights(2, 4).ravel(), _weights(4, 2).ravel(), np.abs(_weights(8)) + 0.2
SLOPE = np.abs(_weights(6))

Build = Callable[[Any, dict[str, Any]], Any]
Reference = Callable[[dict[str, torch.Tensor]], Any]
f32 = np.float32


def unary(op: str, name: str, reference: Callable[[torch.Tensor], torch.Tensor]) -> tuple[str, Build, Reference]:
    return op, lambda mb, v: getattr(mb, op)(x=v[name]), lambda t: reference(t[name])


def binary(op: str, a: str, b: str, reference: Callable[..., torch.Tensor]) -> tuple[str, Build, Reference]:
    return op, lambda mb, v: getattr(mb, op)(x=v[a], y=v[b]), lambda t: reference(t[a], t[b])


def case(op: str, build: Build, reference: Reference) -> tuple[str, Build, Reference]:
    return op, build, reference


def conv(name: str, weight: Any, bias: Any, expected: Reference, **how: Any) -> tuple[str, Build, Reference]:
    return "conv", lambda mb, v: mb.conv(x=v[name], weight=weight, bias=bias, **how), expected


def T(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(array))


CASES: dict[str, tuple[str, Build, Reference]] = {
    **{
        op: unary(op, "x", getattr(torch, op))
        for op in (
            "abs",
            "ceil",
            "floor",
            "round",
            "sign",
            "sin",
            "cos",
            "tanh",
            "exp",
            "erf",
            "sigmoid",
            "square",
            "atan",
            "exp2",
        )
    },
    **{op: unary(op, "unit", getattr(torch, op)) for op in ("acos", "asin", "atanh", "cosh", "sinh", "tan")},
    "sqrt": unary("sqrt", "positive", torch.sqrt),
    "log": unary("log", "positive", torch.log),
    "rsqrt": unary("rsqrt", "positive", torch.rsqrt),
    "inverse": unary("inverse", "positive", lambda x: 1 / (x + 1e-4)),
    "relu": unary("relu", "x", F.relu),
    "relu6": unary("relu6", "x", F.relu6),
    "silu": unary("silu", "x", F.silu),
    "softplus": unary("softplus", "x", F.softplus),
    "softsign": unary("softsign", "x", F.softsign),
    "softmax": case("softmax", lambda mb, v: mb.softmax(x=v["x"], axis=1), lambda t: t["x"].softmax(1)),
    "gelu exact": case("gelu", lambda mb, v: mb.gelu(x=v["x"], mode="EXACT"), lambda t: F.gelu(t["x"])),
    "gelu tanh": case(
        "gelu", lambda mb, v: mb.gelu(x=v["x"], mode="TANH_APPROXIMATION"), lambda t: F.gelu(t["x"], approximate="tanh")
    ),
    "gelu sigmoid": case(
        "gelu",
        lambda mb, v: mb.gelu(x=v["x"], mode="SIGMOID_APPROXIMATION"),
        lambda t: t["x"] * torch.sigmoid(1.702 * t["x"]),
    ),
    "elu": case("elu", lambda mb, v: mb.elu(x=v["x"], alpha=f32(0.7)), lambda t: F.elu(t["x"], 0.7)),
    "leaky_relu": case(
        "leaky_relu", lambda mb, v: mb.leaky_relu(x=v["x"], alpha=f32(0.1)), lambda t: F.leaky_relu(t["x"], 0.1)
    ),
    "prelu": case("prelu", lambda mb, v: mb.prelu(x=v["image"], alpha=GAMMA), lambda t: F.prelu(t["image"], T(GAMMA))),
    "clamped_relu": case(
        "clamped_relu",
        lambda mb, v: mb.clamped_relu(x=v["x"], alpha=f32(0.5), beta=f32(1)),
        lambda t: torch.where(t["x"] >= 0, t["x"], 0.5 * t["x"]).clamp(max=1),
    ),
    "linear_activation": case(
        "linear_activation",
        lambda mb, v: mb.linear_activation(x=v["x"], alpha=f32(2), beta=f32(-1)),
        lambda t: 2 * t["x"] - 1,
    ),
    "scaled_tanh": case(
        "scaled_tanh",
        lambda mb, v: mb.scaled_tanh(x=v["x"], alpha=f32(2), beta=f32(0.3)),
        lambda t: 2 * torch.tanh(0.3 * t["x"]),
    ),
    "sigmoid_hard": case(
        "sigmoid_hard",
        lambda mb, v: mb.sigmoid_hard(x=v["x"], alpha=f32(1 / 6), beta=f32(0.5)),
        lambda t: F.hardsigmoid(t["x"]),
    ),
    "softplus_parametric": case(
        "softplus_parametric",
        lambda mb, v: mb.softplus_parametric(x=v["x"], alpha=SLOPE, beta=SLOPE),
        lambda t: T(SLOPE)[:, None] * F.softplus(T(SLOPE)[:, None] * t["x"]),
    ),
    "threshold": case(
        "threshold", lambda mb, v: mb.threshold(x=v["x"], alpha=f32(0.2)), lambda t: t["x"].clamp(min=0.2)
    ),
    "thresholded_relu": case(
        "thresholded_relu",
        lambda mb, v: mb.thresholded_relu(x=v["x"], alpha=f32(0.2)),
        lambda t: torch.where(t["x"] >= 0.2, t["x"], 0.0),
    ),
    "clip": case(
        "clip", lambda mb, v: mb.clip(x=v["x"], alpha=f32(-0.5), beta=f32(1)), lambda t: t["x"].clamp(-0.5, 1)
    ),
    **{
        op: binary(op, "x", "y", reference)
        for op, reference in {
            "add": torch.add,
            "sub": torch.sub,
            "mul": torch.mul,
            "maximum": torch.maximum,
            "minimum": torch.minimum,
            "greater": torch.gt,
            "greater_equal": torch.ge,
            "less": torch.lt,
            "less_equal": torch.le,
        }.items()
    },
    "real_div": binary("real_div", "y", "positive", torch.div),
    "floor_div": binary("floor_div", "x", "positive", torch.floor_divide),
    "mod": binary("mod", "y", "positive", torch.remainder),
    "pow": binary("pow", "positive", "y", torch.pow),
    "equal": case("equal", lambda mb, v: mb.equal(x=v["integers"], y=3), lambda t: t["integers"] == 3),
    "not_equal": case("not_equal", lambda mb, v: mb.not_equal(x=v["integers"], y=3), lambda t: t["integers"] != 3),
    **{
        f"logical_{op}": case(
            f"logical_{op}",
            lambda mb, v, op=op: getattr(mb, f"logical_{op}")(
                x=mb.greater(x=v["x"], y=f32(0)), y=mb.less(x=v["y"], y=f32(0))
            ),
            lambda t, op=op: getattr(torch, f"logical_{op}")(t["x"] > 0, t["y"] < 0),
        )
        for op in ("and", "or", "xor")
    },
    "logical_not": case(
        "logical_not", lambda mb, v: mb.logical_not(x=mb.greater(x=v["x"], y=f32(0))), lambda t: ~(t["x"] > 0)
    ),
    "select": case(
        "select",
        lambda mb, v: mb.select(cond=mb.greater(x=v["x"], y=f32(0)), a=v["positive"], b=v["x"]),
        lambda t: torch.where(t["x"] > 0, t["positive"], t["x"]),
    ),
    "cast to int32": case("cast", lambda mb, v: mb.cast(x=v["x"], dtype="int32"), lambda t: t["x"].to(torch.int32)),
    "cast to float": case(
        "cast", lambda mb, v: mb.cast(x=v["integers"], dtype="fp32"), lambda t: t["integers"].float()
    ),
    "cast to bool": case("cast", lambda mb, v: mb.cast(x=v["integers"], dtype="bool"), lambda t: t["integers"] != 0),
    "cast to fp16": case(
        "cast", lambda mb, v: mb.cast(x=mb.cast(x=v["x"], dtype="fp16"), dtype="fp32"), lambda t: t["x"].half().float()
    ),
    **{
        f"reduce_{op}": case(
            f"reduce_{op}", lambda mb, v, op=op: getattr(mb, f"reduce_{op}")(x=v["positive"], axes=[1, -1]), reference
        )
        for op, reference in {
            "sum": lambda t: t["positive"].sum((1, 2)),
            "mean": lambda t: t["positive"].mean((1, 2)),
            "max": lambda t: t["positive"].amax((1, 2)),
            "min": lambda t: t["positive"].amin((1, 2)),
            "prod": lambda t: t["positive"].flatten(1).prod(1),
            "l1_norm": lambda t: t["positive"].abs().sum((1, 2)),
            "l2_norm": lambda t: t["positive"].flatten(1).norm(dim=1),
            "sum_square": lambda t: t["positive"].square().sum((1, 2)),
            "log_sum": lambda t: t["positive"].sum((1, 2)).log(),
            "log_sum_exp": lambda t: t["positive"].logsumexp((1, 2)),
        }.items()
    },
    "reduce_mean keeping": case(
        "reduce_mean",
        lambda mb, v: mb.reduce_mean(x=v["x"], axes=[0], keep_dims=True),
        lambda t: t["x"].mean(0, keepdim=True),
    ),
    "reduce_sum of all": case(
        "reduce_sum", lambda mb, v: mb.reduce_sum(x=v["x"], keep_dims=True), lambda t: t["x"].sum().reshape(1, 1, 1)
    ),
    "reduce_argmax": case(
        "reduce_argmax", lambda mb, v: mb.reduce_argmax(x=v["x"], axis=1), lambda t: t["x"].argmax(1)
    ),
    "reduce_argmin": case(
        "reduce_argmin",
        lambda mb, v: mb.reduce_argmin(x=v["x"], axis=-1, keep_dims=True),
        lambda t: t["x"].argmin(-1, keepdim=True),
    ),
    "cumsum": case("cumsum", lambda mb, v: mb.cumsum(x=v["x"], axis=1), lambda t: t["x"].cumsum(1)),
    "cumsum backwards": case(
        "cumsum",
        lambda mb, v: mb.cumsum(x=v["x"], axis=2, exclusive=True, reverse=True),
        lambda t: t["x"].flip(2).cumsum(2).flip(2) - t["x"],
    ),
    "argsort": case(
        "argsort", lambda mb, v: mb.argsort(x=v["unit"], axis=1, ascending=True), lambda t: t["unit"].argsort(1)
    ),
    "topk": case("topk", lambda mb, v: mb.topk(x=v["unit"], k=3, axis=-1)[0], lambda t: t["unit"].topk(3).values),
    "topk indices": case(
        "topk", lambda mb, v: mb.topk(x=v["unit"], k=3, axis=-1)[1], lambda t: t["unit"].topk(3).indices
    ),
    "layer_norm": case(
        "layer_norm",
        lambda mb, v: mb.layer_norm(x=v["x"], axes=[-1], gamma=GAMMA, beta=BETA, epsilon=f32(1e-5)),
        lambda t: F.layer_norm(t["x"], (8,), T(GAMMA), T(BETA)),
    ),
    "layer_norm of two axes": case(
        "layer_norm",
        lambda mb, v: mb.layer_norm(x=v["x"], axes=[1, 2], epsilon=f32(1e-5)),
        lambda t: F.layer_norm(t["x"], (6, 8)),
    ),
    "batch_norm": case(
        "batch_norm",
        lambda mb, v: mb.batch_norm(
            x=v["image"], mean=MEAN, variance=VARIANCE, gamma=GAMMA, beta=BETA, epsilon=f32(1e-3)
        ),
        lambda t: F.batch_norm(t["image"], T(MEAN), T(VARIANCE), T(GAMMA), T(BETA), eps=1e-3),
    ),
    "instance_norm": case(
        "instance_norm",
        lambda mb, v: mb.instance_norm(x=v["image"], gamma=GAMMA, beta=BETA),
        lambda t: F.instance_norm(t["image"], weight=T(GAMMA), bias=T(BETA)),
    ),
    "l2_norm": case(
        "l2_norm",
        lambda mb, v: mb.l2_norm(x=v["image"]),
        lambda t: t["image"] / t["image"].flatten(1).norm(dim=1).reshape(2, 1, 1, 1),
    ),
    "local_response_norm": case(
        "local_response_norm",
        lambda mb, v: mb.local_response_norm(x=v["image"], size=3, alpha=f32(0.5)),
        lambda t: F.local_response_norm(t["image"], 3, alpha=0.5),
    ),
    "linear": case(
        "linear", lambda mb, v: mb.linear(x=v["x"], weight=W44, bias=B4), lambda t: F.linear(t["x"], T(W44), T(B4))
    ),
    "matmul": case(
        "matmul",
        lambda mb, v: mb.matmul(x=v["x"], y=v["positive"], transpose_y=True),
        lambda t: t["x"] @ t["positive"].mT,
    ),
    "matmul of transposed": case(
        "matmul", lambda mb, v: mb.matmul(x=v["x"], y=v["y"], transpose_x=True), lambda t: t["x"].mT @ t["y"]
    ),
    "matmul of a strided view": case(
        "matmul",
        lambda mb, v: mb.matmul(
            x=mb.transpose(x=v["wide"], perm=[3, 1, 2, 0]), y=mb.transpose(x=v["wide"], perm=[3, 1, 0, 2])
        ),
        lambda t: t["wide"].permute(3, 1, 2, 0) @ t["wide"].permute(3, 1, 0, 2),
    ),
    "einsum": case(
        "einsum",
        lambda mb, v: mb.einsum(
            values=(v["wide"], mb.transpose(x=v["wide"], perm=[0, 3, 2, 1])), equation="bchw,bwhu->bchu"
        ),
        lambda t: torch.einsum("bchw,bwhu->bchu", t["wide"], t["wide"].permute(0, 3, 2, 1)),
    ),
    "conv": conv("image", C8, D8, lambda t: F.conv2d(t["image"], T(C8), T(D8))),
    "conv strided and padded": conv(
        "image",
        C8,
        D8,
        lambda t: F.conv2d(t["image"], T(C8), T(D8), stride=(2, 3), padding=(1, 2)),
        strides=[2, 3],
        pad_type="custom",
        pad=[1, 1, 2, 2],
    ),
    "conv dilated": conv("image", C8, D8, lambda t: F.conv2d(t["image"], T(C8), T(D8), dilation=2), dilations=[2, 2]),
    "conv padded unevenly": conv(
        "image",
        C8,
        D8,
        lambda t: F.conv2d(F.pad(t["image"], (2, 0, 0, 1)), T(C8), T(D8)),
        pad_type="custom",
        pad=[0, 1, 2, 0],
    ),
    "conv same": conv(
        "image", EVEN, None, lambda t: F.conv2d(F.pad(t["image"], (1, 2, 0, 1)), T(EVEN)), pad_type="same"
    ),
    "conv depthwise": conv(
        "image",
        DEPTH,
        None,
        lambda t: F.conv2d(t["image"], T(DEPTH), stride=2, padding=1, groups=8),
        strides=[2, 2],
        pad_type="custom",
        pad=[1, 1, 1, 1],
        groups=8,
    ),
    "conv depthwise times two": conv(
        "image",
        DEPTH2,
        None,
        lambda t: F.conv2d(t["image"], T(DEPTH2), padding=4, dilation=2, groups=8),
        pad_type="custom",
        pad=[4, 4, 4, 4],
        dilations=[2, 2],
        groups=8,
    ),
    "conv grouped": conv("image", GROUPED, D8, lambda t: F.conv2d(t["image"], T(GROUPED), T(D8), groups=2), groups=2),
    "conv of a line": conv(
        "x", LINE, None, lambda t: F.conv1d(t["x"], T(LINE), padding=1), pad_type="custom", pad=[1, 1]
    ),
    "conv_transpose": case(
        "conv_transpose",
        lambda mb, v: mb.conv_transpose(
            x=v["image"], weight=TRANSPOSED, strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1]
        ),
        lambda t: F.conv_transpose2d(t["image"], T(TRANSPOSED), stride=2, padding=1),
    ),
    "conv_transpose grouped": case(
        "conv_transpose",
        lambda mb, v: mb.conv_transpose(x=v["image"], weight=GROUPED_TRANSPOSED, strides=[2, 2], groups=2),
        lambda t: F.conv_transpose2d(t["image"], T(GROUPED_TRANSPOSED), stride=2, groups=2),
    ),
    "avg_pool": case(
        "avg_pool",
        lambda mb, v: mb.avg_pool(
            x=v["image"], kernel_sizes=[2, 3], strides=[2, 1], pad_type="custom", pad=[1, 1, 1, 1]
        ),
        lambda t: F.avg_pool2d(t["image"], (2, 3), (2, 1), (1, 1)),
    ),
    "avg_pool without padding": case(
        "avg_pool",
        lambda mb, v: mb.avg_pool(
            x=v["image"],
            kernel_sizes=[3, 3],
            strides=[2, 2],
            pad_type="custom",
            pad=[1, 1, 1, 1],
            exclude_padding_from_average=True,
        ),
        lambda t: F.avg_pool2d(t["image"], 3, 2, 1, count_include_pad=False),
    ),
    "avg_pool rounding up": case(
        "avg_pool",
        lambda mb, v: mb.avg_pool(
            x=v["image"], kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1], ceil_mode=True
        ),
        lambda t: F.avg_pool2d(t["image"], 3, 2, 1, ceil_mode=True),
    ),
    "max_pool": case(
        "max_pool",
        lambda mb, v: mb.max_pool(
            x=v["image"], kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1]
        ),
        lambda t: F.max_pool2d(t["image"], 3, 2, 1),
    ),
    "max_pool rounding up": case(
        "max_pool",
        lambda mb, v: mb.max_pool(x=v["image"], kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid", ceil_mode=True),
        lambda t: F.max_pool2d(t["image"], 2, 2, ceil_mode=True),
    ),
    "l2_pool": case(
        "l2_pool",
        lambda mb, v: mb.l2_pool(x=v["image"], kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid"),
        lambda t: F.lp_pool2d(t["image"], 2, 2),
    ),
    "upsample_nearest_neighbor": case(
        "upsample_nearest_neighbor",
        lambda mb, v: mb.upsample_nearest_neighbor(x=v["image"], scale_factor_height=2, scale_factor_width=3),
        lambda t: F.interpolate(t["image"], scale_factor=(2, 3), mode="nearest"),
    ),
    "upsample_bilinear": case(
        "upsample_bilinear",
        lambda mb, v: mb.upsample_bilinear(
            x=v["image"], scale_factor_height=2, scale_factor_width=3, align_corners=False
        ),
        lambda t: F.interpolate(t["image"], scale_factor=(2, 3), mode="bilinear", align_corners=False),
    ),
    "upsample_bilinear with corners": case(
        "upsample_bilinear",
        lambda mb, v: mb.upsample_bilinear(
            x=v["image"], scale_factor_height=2, scale_factor_width=2, align_corners=True
        ),
        lambda t: F.interpolate(t["image"], scale_factor=2, mode="bilinear", align_corners=True),
    ),
    "reshape": case("reshape", lambda mb, v: mb.reshape(x=v["x"], shape=[4, -1]), lambda t: t["x"].reshape(4, -1)),
    "reshape keeping": case(
        "reshape", lambda mb, v: mb.reshape(x=v["x"], shape=[0, 8, -1]), lambda t: t["x"].reshape(2, 8, 6)
    ),
    "transpose": case(
        "transpose", lambda mb, v: mb.transpose(x=v["x"], perm=[2, 0, -2]), lambda t: t["x"].permute(2, 0, 1)
    ),
    "expand_dims": case(
        "expand_dims", lambda mb, v: mb.expand_dims(x=v["x"], axes=[0, -1]), lambda t: t["x"][None, ..., None]
    ),
    "squeeze": case("squeeze", lambda mb, v: mb.squeeze(x=v["wide"], axes=[0]), lambda t: t["wide"][0]),
    "flatten2d": case(
        "flatten2d", lambda mb, v: mb.flatten2d(x=v["image"], axis=2), lambda t: t["image"].reshape(16, 90)
    ),
    "concat": case(
        "concat",
        lambda mb, v: mb.concat(values=(v["x"], v["positive"]), axis=-1),
        lambda t: torch.cat([t["x"], t["positive"]], -1),
    ),
    "concat taking turns": case(
        "concat",
        lambda mb, v: mb.concat(values=(v["x"], v["positive"]), axis=1, interleave=True),
        lambda t: torch.stack([t["x"], t["positive"]], 2).flatten(1, 2),
    ),
    "stack": case(
        "stack",
        lambda mb, v: mb.stack(values=(v["x"], v["positive"]), axis=1),
        lambda t: torch.stack([t["x"], t["positive"]], 1),
    ),
    "split": case("split", lambda mb, v: mb.split(x=v["x"], num_splits=3, axis=1)[1], lambda t: t["x"][:, 2:4]),
    "split by sizes": case(
        "split", lambda mb, v: mb.split(x=v["x"], split_sizes=[1, 5, 2], axis=-1)[2], lambda t: t["x"][..., 6:]
    ),
    "slice_by_index": case(
        "slice_by_index",
        lambda mb, v: mb.slice_by_index(
            x=v["x"],
            begin=[0, 1, -7],
            end=[0, -1, 99],
            stride=[1, 2, 3],
            begin_mask=[True, False, False],
            end_mask=[True, False, False],
        ),
        lambda t: t["x"][:, 1:-1:2, -7::3],
    ),
    "slice_by_index single": case(
        "slice_by_index",
        lambda mb, v: mb.slice_by_index(x=v["x"], begin=[0, -1, 2], end=[2, 6, 5], squeeze_mask=[False, True, False]),
        lambda t: t["x"][:, -1, 2:5],
    ),
    "slice_by_size": case(
        "slice_by_size",
        lambda mb, v: mb.slice_by_size(x=v["x"], begin=[0, 2, 1], size=[2, 3, -1]),
        lambda t: t["x"][:, 2:5, 1:],
    ),
    "gather": case(
        "gather", lambda mb, v: mb.gather(x=v["x"], indices=v["index"], axis=1), lambda t: t["x"][:, t["index"].long()]
    ),
    "gather by example": case(
        "gather",
        lambda mb, v: mb.gather(x=v["x"], indices=v["index"], axis=2, batch_dims=1),
        lambda t: torch.stack([t["x"][i][:, t["index"][i].long()] for i in range(2)]),
    ),
    "gather_nd": case(
        "gather_nd",
        lambda mb, v: mb.gather_nd(x=v["y"], indices=mb.expand_dims(x=v["index"], axes=[-1])),
        lambda t: t["y"][t["index"].long()],
    ),
    "gather_nd by example": case(
        "gather_nd",
        lambda mb, v: mb.gather_nd(x=v["x"], indices=mb.expand_dims(x=v["index"], axes=[-1]), batch_dims=1),
        lambda t: torch.stack([t["x"][i][t["index"][i].long()] for i in range(2)]),
    ),
    "gather_along_axis": case(
        "gather_along_axis",
        lambda mb, v: mb.gather_along_axis(
            x=mb.squeeze(x=mb.slice_by_size(x=v["x"], begin=[0, 0, 0], size=[2, 6, 1]), axes=[-1]),
            indices=v["index"],
            axis=1,
        ),
        lambda t: t["x"][..., 0].gather(1, t["index"].long()),
    ),
    "pad": case(
        "pad",
        lambda mb, v: mb.pad(x=v["x"], pad=[1, 2, 0, 3], mode="constant", constant_val=f32(0.5)),
        lambda t: F.pad(t["x"], (0, 3, 1, 2), value=0.5),
    ),
    "pad by reflection": case(
        "pad",
        lambda mb, v: mb.pad(x=v["image"], pad=[1, 2, 2, 1], mode="reflect"),
        lambda t: F.pad(t["image"], (2, 1, 1, 2), mode="reflect"),
    ),
    "pad by repetition": case(
        "pad",
        lambda mb, v: mb.pad(x=v["image"], pad=[1, 2, 2, 1], mode="replicate"),
        lambda t: F.pad(t["image"], (2, 1, 1, 2), mode="replicate"),
    ),
    "tile": case("tile", lambda mb, v: mb.tile(x=v["y"], reps=[2, 3]), lambda t: t["y"].tile(2, 3)),
    "reverse": case("reverse", lambda mb, v: mb.reverse(x=v["x"], axes=[0, 2]), lambda t: t["x"].flip(0, 2)),
    "fill": case(
        "fill",
        lambda mb, v: mb.add(x=mb.fill(shape=mb.shape(x=v["y"]), value=f32(2.5)), y=v["y"]),
        lambda t: 2.5 + t["y"],
    ),
    "shape": case("shape", lambda mb, v: mb.shape(x=v["x"]), lambda t: torch.tensor(t["x"].shape)),
    "fill_like": case(
        "fill_like", lambda mb, v: mb.fill_like(ref_tensor=v["x"], value=f32(1.5)), lambda t: torch.full((2, 6, 8), 1.5)
    ),
    "one_hot": case(
        "one_hot",
        lambda mb, v: mb.one_hot(indices=v["index"], one_hot_vector_size=6, on_value=f32(2), off_value=f32(0.5)),
        lambda t: F.one_hot(t["index"].long(), 6) * 1.5 + 0.5,
    ),
    "band_part": case(
        "band_part", lambda mb, v: mb.band_part(x=v["x"], lower=1, upper=2), lambda t: t["x"].tril(2).triu(-1)
    ),
    "band_part of the upper triangle": case(
        "band_part", lambda mb, v: mb.band_part(x=v["x"], lower=0, upper=-1), lambda t: t["x"].triu()
    ),
    "range_1d": case(
        "range_1d",
        lambda mb, v: mb.add(x=mb.cast(x=mb.range_1d(start=0, end=8, step=1), dtype="fp32"), y=v["y"]),
        lambda t: torch.arange(8) + t["y"],
    ),
    "pixel_shuffle": case(
        "pixel_shuffle",
        lambda mb, v: mb.pixel_shuffle(x=v["image"], upscale_factor=2),
        lambda t: F.pixel_shuffle(t["image"], 2),
    ),
    "pixel_unshuffle": case(
        "pixel_unshuffle",
        lambda mb, v: mb.pixel_unshuffle(x=v["wide"], downscale_factor=np.uint32(2)),
        lambda t: F.pixel_unshuffle(t["wide"], 2),
    ),
    "sliding_windows": case(
        "sliding_windows",
        lambda mb, v: mb.sliding_windows(x=v["x"], axis=1, size=3, stride=2),
        lambda t: t["x"].unfold(1, 3, 2).movedim(-1, 2),
    ),
    "non_zero": case("non_zero", lambda mb, v: mb.non_zero(x=v["integers"]), lambda t: t["integers"].nonzero()),
}

NEW_IN_IOS18: dict[str, tuple[str, Build, Reference]] = {
    "scaled_dot_product_attention": case(
        "scaled_dot_product_attention",
        lambda mb, v: mb.scaled_dot_product_attention(query=v["x"], key=v["positive"], value=v["unit"]),
        lambda t: F.scaled_dot_product_attention(t["x"], t["positive"], t["unit"]),
    ),
    "scaled_dot_product_attention masked": case(
        "scaled_dot_product_attention",
        lambda mb, v: mb.scaled_dot_product_attention(
            query=v["x"], key=v["positive"], value=v["unit"], attn_mask=np.tril(np.ones((6, 6), bool))
        ),
        lambda t: F.scaled_dot_product_attention(t["x"], t["positive"], t["unit"], is_causal=True),
    ),
    "slice_update": case(
        "slice_update",
        lambda mb, v: mb.slice_update(x=v["x"], update=np.zeros((2, 2, 3), np.float32), begin=[0, 1, 2], end=[2, 3, 5]),
        lambda t: torch.slice_scatter(
            t["x"], torch.slice_scatter(t["x"][:, 1:3], torch.zeros(2, 2, 3), 2, 2, 5), 1, 1, 3
        ),
    ),
    "quantize": case(
        "quantize",
        lambda mb, v: mb.quantize(input=v["x"], scale=f32(0.25), zero_point=np.int8(3), output_dtype="int8"),
        lambda t: ((t["x"] / 0.25).round() + 3).clamp(-128, 127),
    ),
    "dequantize": case(
        "dequantize",
        lambda mb, v: mb.dequantize(
            input=mb.cast(x=v["integers"], dtype="int8"), scale=SLOPE, zero_point=np.arange(6, dtype=np.int8), axis=1
        ),
        lambda t: (t["integers"] - torch.arange(6)[:, None]) * T(SLOPE)[:, None],
    ),
}


@pytest.fixture(scope="module", params=["iOS16", "iOS18"])
def executed(request: pytest.FixtureRequest, ct: Any, convert: Any) -> dict[str, Any]:
    """All cases in one program: name to result."""
    from coremltools.converters.mil import Builder as mb
    from coremltools.converters.mil.mil import types

    cases = CASES | NEW_IN_IOS18 if request.param == "iOS18" else CASES

    def body(x, y, image, wide, positive, unit, integers, index):
        named = dict(zip(INPUTS, (x, y, image, wide, positive, unit, integers, index), strict=True))
        return tuple(mb.identity(x=build(mb, named), name=_output(name)) for name, (_, build, _) in cases.items())

    kinds = {"integers": types.int32, "index": types.int32}
    specs = {name: mb.TensorSpec(value.shape, kinds.get(name, types.fp32)) for name, value in INPUTS.items()}
    source = mb.program(input_specs=list(specs.values()), opset_version=getattr(ct.target, request.param))(body)
    program = read_program(convert(source, target=request.param))
    types_used = {operation.type for operation in program.main.operations}
    assert {op for op, _, _ in cases.values()} <= types_used
    # Only what the program types as float16 is rounded, and that is one cast.
    results = Interpreter(program, arithmetic="float16").run(INPUTS)
    return {name: results[_output(name)] for name in cases}


def _output(name: str) -> str:
    return "out_" + name.replace(" ", "_")


@pytest.mark.parametrize("name", CASES | NEW_IN_IOS18)
def test_operator_equals_torch(executed: dict[str, Any], name: str) -> None:
    if name not in executed:
        pytest.skip("new in iOS 18")
    expected = (CASES | NEW_IN_IOS18)[name][2]({key: T(value) for key, value in INPUTS.items()}).numpy()
    assert executed[name].shape == expected.shape
    np.testing.assert_allclose(executed[name], expected, rtol=RELATIVE, atol=ABSOLUTE)


def test_every_operator_of_the_table_has_a_test() -> None:
    here = {op for op, _, _ in (CASES | NEW_IN_IOS18).values()} | {"identity"}
    compressed = {name for name in OPS if name.startswith("constexpr_")}  # tests/mil/test_compressed.py
    assert set(OPS) - here - compressed == set()
