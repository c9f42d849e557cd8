"""A SavedModel as a model server uses it: by its files and its signature, over TensorFlow Serving's gRPC API.

The test implements the server: the official messages and service of `tensorflow-serving-api`, and a session that uses
only the tags, the signature and the tensor names of the SavedModel, as TensorFlow Serving does.
"""

import concurrent.futures
import contextlib
import json
import re

import checkpoints_made
import grpc
import numpy as np
import pytest
import tensorflow as tf
from places import ROOT

from hazeheal import __main__ as program
from hazeheal.inference.gan import DehazeGAN

apis = pytest.importorskip("tensorflow_serving.apis", reason="needs tensorflow-serving-api")
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc  # noqa: E402


class ModelServer(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, path):
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            loaded = tf.compat.v1.saved_model.load(self._session, ["serve"], str(path))
        self._signatures = loaded.signature_def

    def Predict(self, request, context):
        signature = self._signatures[request.model_spec.signature_name or "serving_default"]
        given = {signature.inputs[name].name: tf.make_ndarray(t) for name, t in request.inputs.items()}
        wanted = {name: tensor.name for name, tensor in signature.outputs.items()}
        found = self._session.run(wanted, given)
        tensors = {name: tf.make_tensor_proto(value) for name, value in found.items()}
        return predict_pb2.PredictResponse(model_spec=request.model_spec, outputs=tensors)


@contextlib.contextmanager
def serving(path):
    """A client of a server with this SavedModel."""
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(ModelServer(path), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    try:
        with grpc.insecure_channel(f"localhost:{port}") as channel:
            yield prediction_service_pb2_grpc.PredictionServiceStub(channel)
    finally:
        server.stop(None).wait()


def ask(stub, hazy, *, signature_name=""):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "hazeheal"
    request.model_spec.signature_name = signature_name
    request.inputs["hazy"].CopyFrom(tf.make_tensor_proto(hazy))
    (restored,) = dict(stub.Predict(request, timeout=60).outputs).items()
    assert restored[0] == "restored"
    return tf.make_ndarray(restored[1])


def test_images_over_the_api_of_tensorflow_serving(tmp_path):
    run = checkpoints_made.write_run(tmp_path / "run", (5, 20.0), model__se_ratio=0.25)
    assert program.main(["export", f"--model={run}", f"--output={tmp_path / 'export'}"]) == 0
    gan, rng = DehazeGAN.from_run(run), np.random.default_rng(0)
    with serving(tmp_path / "export/saved_model") as stub:
        for shape in ((1, 1, 1, 3), (2, 33, 47, 3)):
            hazy = rng.integers(0, 256, shape, np.uint8)
            restored = ask(stub, hazy, signature_name="serving_default")
            assert restored.dtype == np.uint8 and restored.shape == shape
            for ours, theirs in zip((gan.restore(image) for image in hazy), restored, strict=True):
                assert np.abs(ours.astype(int) - theirs).max() <= 1
        # The request of the documents; without a name for its signature too, which then is the default one.
        page = (ROOT / "docs/export.md").read_text(encoding="utf-8")
        body = json.loads(re.search(r"curl -d '(.*?)' localhost:8501/v1/models/hazeheal:predict", page)[1])
        (name, values), signature = *body["inputs"].items(), body["signature_name"]
        assert (name, signature) == ("hazy", "serving_default")
        hazy = np.asarray(values, np.uint8)
        assert ask(stub, hazy).shape == hazy.shape
