"""Values and derivatives of many graphs at many points, compiled.

The functions are those of `primitives`, in float64; a slope is what autograd gives there, also at corners and where an
argument is held inside its domain; at the limit itself, where versions of torch differ, it is 0.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.projects.gms.primitives import ARC_LIMIT, SMALLEST
from fastreid_ext.utils.compiled import compiled

__all__ = ["LARGEST", "evaluate"]

# Almost float32's largest number, 3.4e38.
LARGEST = 3e38

# How far rounding may take the argument of arc sine and arc cosine beyond 1.
_ARC_TOLERANCE = 1e-6

# The order of Table 1.
(_ADD, _MINUS, _MUL, _DIV, _NEG, _ABS, _INV, _LOG, _EXP, _SIG, _TANH, _SIN) = range(12)
(_COS, _ARCSIN, _ARCCOS, _SQUARE, _SQRT, _RELU, _SOFTPLUS, _GD, _ALF, _ERF, _ERFC, _DE) = range(12, 24)

Numbers = NDArray[np.float64]


@compiled
def evaluate(
    programs: tuple[
        Numbers,
        NDArray[np.int64],
        NDArray[np.int8],
        NDArray[np.int32],
        NDArray[np.int32],
        NDArray[np.int64],
        NDArray[np.bool_],
    ],
    which: NDArray[np.int64],
    points: Numbers,
    strict: bool,
    values: Numbers,
    slopes: Numbers,
    faults: Numbers,
) -> None:
    """Evaluates some graphs; each ends at its first fault.

    A fault is a value or slope that is not finite in float32, and where `strict` an argument outside of a function's
    true domain.

    Args:
        programs: `arrays` of a `Programs`.
        which: numbers of W graphs.
        points: the same for all graphs, (1, P), or those of each, (W, P).
        strict: whether leaving the true domain is a fault.
        values: takes the functions, (W, P); unspecified where there is a fault.
        slopes: takes their derivatives, (W, P).
        faults: takes node, place of the point, and last argument of what is at fault, (W, 3); node -1 is none, and the
            number behind the last node is the sum of the outputs.
    """
    constants, constant_starts, opcodes, left, right, operation_starts, outputs = programs
    number = points.shape[1]
    most = 0
    for i in which:
        most = max(most, operation_starts[i + 1] - operation_starts[i] + constant_starts[i + 1] - constant_starts[i])
    node_values = np.empty((most + 1, number))
    node_slopes = np.empty((most + 1, number))
    varies = np.empty(most + 1, np.bool_)
    node_slopes[0] = 1
    varies[0] = True
    for k in range(len(which)):
        i = which[k]
        node_values[0] = points[min(k, len(points) - 1)]
        first = 1 + constant_starts[i + 1] - constant_starts[i]
        for node in range(1, first):
            node_values[node] = constants[constant_starts[i] + node - 1]
            node_slopes[node] = 0
            varies[node] = False
        total = first + operation_starts[i + 1] - operation_starts[i]
        fault = -1
        faults[k, 0] = -1
        for node in range(first, total):
            at = operation_starts[i] + node - first
            varies[node] = varies[left[at]] or varies[right[at]]
            fault = _apply(opcodes[at], left[at], right[at], strict, varies[node], node, node_values, node_slopes)
            if fault >= 0:
                faults[k, 0], faults[k, 1], faults[k, 2] = node, fault, node_values[right[at], fault]
                break
        if fault < 0:
            start = i + constant_starts[i] + operation_starts[i]
            fault = _sum(outputs[start : start + total], node_values, node_slopes, values[k], slopes[k])
            if fault >= 0:
                faults[k, 0], faults[k, 1], faults[k, 2] = total, fault, values[k, fault]


@compiled
def _apply(
    opcode: int, left: int, right: int, strict: bool, varies: bool, node: int, values: Numbers, slopes: Numbers
) -> int:
    """Computes a node at all points, or up to the first fault, whose place it returns, else -1."""
    x, x_slope = values[left], slopes[left]
    y, y_slope = values[right], slopes[right]
    value, slope = values[node], slopes[node]
    for point in range(len(x) if varies else 1):
        if strict and not _in_domain(opcode, y[point]):
            return point
        if opcode <= _DIV:
            value[point], slope[point] = _binary(opcode, x[point], x_slope[point], y[point], y_slope[point])
        else:
            value[point], factor = _elementary(opcode, x[point]) if opcode <= _COS else _special(opcode, x[point])
            slope[point] = factor * x_slope[point]
        if not (abs(value[point]) <= LARGEST and abs(slope[point]) <= LARGEST):
            return point
    if not varies:
        value[:], slope[:] = value[0], slope[0]
    return -1


@compiled
def _sum(outputs: NDArray[np.bool_], values: Numbers, slopes: Numbers, value: Numbers, slope: Numbers) -> int:
    value[:] = 0
    slope[:] = 0
    for node in range(len(outputs)):
        if outputs[node]:
            value += values[node]
            slope += slopes[node]
    for point in range(len(value)):
        if not (abs(value[point]) <= LARGEST and abs(slope[point]) <= LARGEST):
            return point
    return -1


@compiled
def _in_domain(opcode: int, x: float) -> bool:
    if opcode in (_INV, _DIV):
        return abs(x) >= SMALLEST
    if opcode == _LOG:
        return x > 0
    if opcode == _SQRT:
        return x >= 0
    if opcode in (_ARCSIN, _ARCCOS):
        return abs(x) <= 1 + _ARC_TOLERANCE
    return True


@compiled
def _binary(opcode: int, x: float, x_slope: float, y: float, y_slope: float) -> tuple[float, float]:
    """Value and slope."""
    if opcode == _ADD:
        return x + y, x_slope + y_slope
    if opcode == _MINUS:
        return x - y, x_slope - y_slope
    if opcode == _MUL:
        return x * y, x_slope * y + x * y_slope
    divisor, inside = _divisor(y)
    quotient = x / divisor
    return quotient, (x_slope - quotient * inside * y_slope) / divisor


@compiled
def _elementary(opcode: int, x: float) -> tuple[float, float]:
    """Value, and derivative with respect to the argument."""
    if opcode == _NEG:
        value, slope = -x, -1.0
    elif opcode == _ABS:
        value, slope = abs(x), float(np.sign(x))
    elif opcode == _INV:
        divisor, inside = _divisor(x)
        value, slope = 1 / divisor, -inside / divisor**2
    elif opcode == _LOG:
        value, slope = math.log(max(x, SMALLEST)), (1 / x if x > SMALLEST else 0.0)
    elif opcode == _EXP:
        value = slope = math.exp(x)
    elif opcode == _SIG:
        value = _sigmoid(x)
        slope = value * (1 - value)
    elif opcode == _TANH:
        value = math.tanh(x)
        slope = 1 - value**2
    elif opcode == _SIN:
        value, slope = math.sin(x), math.cos(x)
    else:
        value, slope = math.cos(x), -math.sin(x)
    return value, slope


@compiled
def _special(opcode: int, x: float) -> tuple[float, float]:
    """Value, and derivative with respect to the argument."""
    value, slope = x, 0.0
    if opcode in (_ARCSIN, _ARCCOS):
        held = min(max(x, -ARC_LIMIT), ARC_LIMIT)
        sign = 1.0 if opcode == _ARCSIN else -1.0
        value = math.asin(held) if opcode == _ARCSIN else math.acos(held)
        slope = sign / math.sqrt(1 - held**2) if abs(x) < ARC_LIMIT else 0.0
    elif opcode == _SQUARE:
        value, slope = x * x, 2 * x
    elif opcode == _SQRT:
        value = math.sqrt(max(x, SMALLEST))
        slope = 0.5 / value if x > SMALLEST else 0.0
    elif opcode == _RELU:
        value, slope = max(x, 0.0), (1.0 if x > 0 else 0.0)
    elif opcode == _SOFTPLUS:
        value, slope = max(x, 0.0) + math.log1p(math.exp(-abs(x))), _sigmoid(x)
    elif opcode == _GD:
        half = math.tanh(x / 2)
        value, slope = 2 * math.atan(half), (1 - half**2) / (1 + half**2)
    elif opcode == _ALF:
        root = 1 / math.sqrt(1 + x * x)
        value, slope = x * root, root**3
    elif opcode in (_ERF, _ERFC):
        value, slope = math.erf(x), 2 / math.sqrt(math.pi) * math.exp(-x * x)
        if opcode == _ERFC:
            value, slope = math.erfc(x), -slope
    return value, slope


@compiled
def _divisor(x: float) -> tuple[float, float]:
    """The number held away from zero, and the derivative of that."""
    if x < 0:
        return min(x, -SMALLEST), 1.0 if x < -SMALLEST else 0.0
    return max(x, SMALLEST), 1.0 if x > SMALLEST else 0.0


@compiled
def _sigmoid(x: float) -> float:
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    small = math.exp(x)
    return small / (1 + small)
