"""A boosted tree ensemble of scikit-learn as an ONNX graph: float32 [n, features] in, probability [n, 1] out.

Written out here because converters round each threshold to the nearest float32, which moves inputs that equal it to
the other side of a split. Rounding down instead decides every float32 input exactly as scikit-learn's float64 does.
"""

import numpy as np
from onnx import TensorProto, checker, helper


def float32_at_or_below(value):
    rounded = np.float32(value)
    return float(rounded if float(rounded) <= value else np.nextafter(rounded, np.float32(-np.inf)))


def trees_to_onnx(model, name, version, feature_count):
    """Bytes of the ONNX file. `model` is a fitted binary HistGradientBoostingClassifier without categorical splits."""
    nodes = {key: [] for key in (
        "treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids",
        "missing_value_tracks_true",
    )}  # fmt: skip
    leaves = {key: [] for key in ("treeids", "nodeids", "ids", "weights")}
    for tree, (predictor,) in enumerate(model._predictors):
        for index, node in enumerate(predictor.nodes):
            leaf = bool(node["is_leaf"])
            if node["is_categorical"]:
                raise ValueError("categorical splits have no counterpart here")
            nodes["treeids"].append(tree)
            nodes["nodeids"].append(index)
            nodes["featureids"].append(0 if leaf else int(node["feature_idx"]))
            nodes["values"].append(0.0 if leaf else float32_at_or_below(float(node["num_threshold"])))
            nodes["modes"].append("LEAF" if leaf else "BRANCH_LEQ")
            nodes["truenodeids"].append(0 if leaf else int(node["left"]))
            nodes["falsenodeids"].append(0 if leaf else int(node["right"]))
            nodes["missing_value_tracks_true"].append(0 if leaf else int(node["missing_go_to_left"]))
            if leaf:
                leaves["treeids"].append(tree)
                leaves["nodeids"].append(index)
                leaves["ids"].append(0)
                leaves["weights"].append(float(node["value"]))
    ensemble = helper.make_node(
        "TreeEnsembleRegressor",
        ["features"],
        ["log_odds"],
        domain="ai.onnx.ml",
        n_targets=1,
        base_values=[float(model._baseline_prediction[0, 0])],
        **{f"nodes_{key}": value for key, value in nodes.items()},
        **{f"target_{key}": value for key, value in leaves.items()},
    )
    graph = helper.make_graph(
        # The operator's own LOGISTIC is not applied by ONNX Runtime to a regressor.
        [ensemble, helper.make_node("Sigmoid", ["log_odds"], ["probability"])],
        name,
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", feature_count])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["n", 1])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    proto = helper.make_model(graph, producer_name=name, producer_version=version, opset_imports=opsets, ir_version=8)
    checker.check_model(proto)
    return proto.SerializeToString(deterministic=True)
