"""A traced function -> a graph of constants that is ready for inference, and the same each time.

Weights become constants, which the runtime can lay out once for its kernels. A batch
normalisation behind a convolution is folded into it:

    gamma (W * x + b - mean) / sqrt(variance + epsilon) + beta = (s W) * x + s (b - mean) + beta,
    s = gamma / sqrt(variance + epsilon)

with s W computed in float64 and rounded once. TensorFlow's own optimizer does that too where
weights are constants, but not behind depthwise convolutions.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.function_pb2 import FunctionDef
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef


def freeze(function: tf.types.experimental.ConcreteFunction, names: Sequence[str]) -> GraphDef:
    """What a function computes, its variables replaced by their values.

    Args:
        function: traced; it reads its variables at its top level, as Keras models do.
        names: nodes that are kept, under their names, with all that they need.
    """
    values = {}
    variables = {id(variable.handle): variable for variable in function.graph.variables}
    for outside, inside in function.graph.captures:
        is_variable = outside.dtype == tf.resource
        values[inside.op.name] = variables[id(outside)] if is_variable else outside
    graph = function.graph.as_graph_def()
    for node in graph.node:
        held = node.input[0] if node.op == "ReadVariableOp" else node.name
        if held in values and (node.op == "ReadVariableOp") == isinstance(
            values[held], tf.Variable
        ):
            node.CopyFrom(_constant(node.name, values[held].numpy()))
    _without_identities(graph)
    return canonical(graph, names)


def _without_identities(graph: GraphDef) -> None:
    """Takes what is behind an IdentityN, the mark of a custom gradient, from before it."""
    passed = {
        f"{node.name}:{i}" if i else node.name: source
        for node in graph.node
        if node.op == "IdentityN"
        for i, source in enumerate(node.input)
    }
    for node in graph.node:
        for i in range(len(node.input)):
            while node.input[i] in passed:
                node.input[i] = passed[node.input[i]]


def fold_normalisations(graph: GraphDef, names: Sequence[str]) -> tuple[GraphDef, int]:
    """Folds batch normalisations into the convolutions before them; also gives their number."""
    nodes = {node.name: node for node in graph.node}
    uses = Counter(_source(name) for node in graph.node for name in node.input)
    folded = GraphDef()
    folded.CopyFrom(graph)
    del folded.node[:]
    count = 0
    for node in graph.node:
        convolution = _convolution_before(node, nodes, uses)
        if convolution is None:
            folded.node.add().CopyFrom(node)
            continue
        count += 1
        kernel, bias = _folded_weights(node, convolution, nodes)
        kernel_node = _constant(f"{node.name}/kernel", kernel)
        bias_node = _constant(f"{node.name}/bias", bias)
        product = NodeDef()
        product.CopyFrom(convolution)
        product.name = f"{node.name}/convolution"
        product.input[1] = kernel_node.name
        total = NodeDef(name=node.name, op="BiasAdd", input=[product.name, bias_node.name])
        total.attr["T"].type = tf.float32.as_datatype_enum
        folded.node.extend([kernel_node, bias_node, product, total])
    return canonical(folded, names), count


def _convolution_before(
    node: NodeDef, nodes: Mapping[str, NodeDef], uses: Mapping[str, int]
) -> NodeDef | None:
    """The convolution that feeds this normalisation and nothing else."""
    if node.op != "FusedBatchNormV3" or node.attr["is_training"].b:
        return None
    before = nodes[_source(node.input[0])]
    while before.op == "BiasAdd" and uses[before.name] == 1:
        before = nodes[_source(before.input[0])]
    is_convolution = before.op in ("Conv2D", "DepthwiseConv2dNative")
    return before if is_convolution and uses[before.name] == 1 else None


def _folded_weights(
    node: NodeDef, convolution: NodeDef, nodes: Mapping[str, NodeDef]
) -> tuple[np.ndarray, np.ndarray]:
    def value(name: str) -> np.ndarray:
        source = nodes[_source(name)]
        while source.op == "Identity":
            source = nodes[_source(source.input[0])]
        return tf.make_ndarray(source.attr["value"].tensor).astype(np.float64)

    gamma, beta, mean, variance = (value(name) for name in node.input[1:5])
    scale = gamma / np.sqrt(variance + node.attr["epsilon"].f)
    kernel = value(convolution.input[1])
    if convolution.op == "DepthwiseConv2dNative":  # (h, w, channels, multiplier)
        kernel = kernel * scale.reshape(kernel.shape[2:])
    else:
        kernel = kernel * scale
    before = nodes[_source(node.input[0])]
    while before.op == "BiasAdd":
        mean = mean - value(before.input[1])
        before = nodes[_source(before.input[0])]
    return kernel.astype(np.float32), (beta - mean * scale).astype(np.float32)


def _constant(name: str, value: np.ndarray) -> NodeDef:
    tensor = tf.make_tensor_proto(value)
    node = NodeDef(name=name, op="Const")
    node.attr["dtype"].type = tensor.dtype
    node.attr["value"].tensor.CopyFrom(tensor)
    return node


def canonical(graph: GraphDef, names: Sequence[str]) -> GraphDef:
    """The same graph in the form that depends on what it computes alone.

    Names carry counters of the process that traced it: Keras numbers models and layers,
    TensorFlow numbers functions. Here a name's number is the order in which the graph uses it,
    nodes come in that order, and what `names` do not need is left out.
    """
    nodes = {node.name: node for node in graph.node}
    functions = {function.signature.name: function for function in graph.library.function}
    rename = _Numbering(keep=names)
    result = GraphDef(versions=graph.versions)
    for name in _in_order(nodes, names):
        node = result.node.add()
        node.CopyFrom(nodes[name])
        node.name = rename.node(name)
        node.ClearField("device")
        for i, source in enumerate(node.input):
            node.input[i] = source.replace(_source(source), rename.node(_source(source)), 1)
        _rename_functions(node, rename)
    while len(result.library.function) < len(rename.functions):  # each can name further ones
        original = list(rename.functions)[len(result.library.function)]
        function = result.library.function.add()
        function.CopyFrom(functions[original])
        function.signature.name = rename.functions[original]
        function.attr.clear()
        _number_arguments(function)
        for node in function.node_def:
            _rename_functions(node, rename)
    return result


class _Numbering:
    """Old names -> new ones, numbered as they are met."""

    def __init__(self, keep: Sequence[str]) -> None:
        self.functions: dict[str, str] = {}
        self._paths: dict[str, str] = {name: name for name in keep}
        self._taken = Counter(keep)

    def node(self, name: str) -> str:
        """`model_3/conv_7/kernel` -> `model/conv/kernel` for the first of its kind."""
        if name not in self._paths:
            parent, _, last = name.rpartition("/")
            stem = re.sub(r"(_\d+)+$", "", last)
            path = f"{self.node(parent)}/{stem}" if parent else stem
            self._paths[name] = f"{path}_{self._taken[path]}" if self._taken[path] else path
            self._taken[path] += 1
        return self._paths[name]

    def function(self, name: str, role: str) -> str:
        """Named by what calls it: `body_0`, `then_branch_1`, ..."""
        return self.functions.setdefault(name, f"{role}_{len(self.functions)}")


def _number_arguments(function: FunctionDef) -> None:
    new = {arg.name: f"argument_{i}" for i, arg in enumerate(function.signature.input_arg)}
    for arg in function.signature.input_arg:
        arg.name = new[arg.name]
    for node in function.node_def:
        for i, source in enumerate(node.input):
            node.input[i] = new.get(source, source)
    for result, source in list(function.ret.items()):
        function.ret[result] = new.get(source, source)


def _rename_functions(node: NodeDef, rename: _Numbering) -> None:
    for role in sorted(node.attr):
        if role.startswith("_gradient_op_type"):
            del node.attr[role]  # counts custom gradients, which no one takes here
            continue
        value = node.attr[role]
        for called in [value.func] if value.HasField("func") else value.list.func:
            called.name = rename.function(called.name, role)
    node.ClearField("experimental_debug_info")


def _in_order(nodes: Mapping[str, NodeDef], names: Sequence[str]) -> Iterator[str]:
    """Every node that these need, each behind its inputs."""
    done: set[str] = set()
    stack = [(name, False) for name in reversed(names)]
    while stack:
        name, ready = stack.pop()
        if name in done:
            continue
        if ready:
            done.add(name)
            yield name
        else:
            stack.append((name, True))
            stack += [(_source(source), False) for source in reversed(nodes[name].input)]


def _source(name: str) -> str:
    """The node that an input comes from: `^a` and `a:1` come from `a`."""
    return name.lstrip("^").partition(":")[0]
