"""`tf.train.Example` without TensorFlow, which takes longer to import than a worker needs to convert a thousand pairs.

The messages of tensorflow/core/example/{example,feature}.proto are built field by field with the protobuf library.
They have their own descriptor pool, because a process that also imports TensorFlow has these names in the default
pool.

    example = Example()
    example.features.feature["key"].bytes_list.value.append(b"0001")
    example.SerializeToString(deterministic=True)      # the same bytes as tf.train.Example
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto


def _make_example():
    file = descriptor_pb2.FileDescriptorProto(name="hazeheal/example.proto", package="tensorflow", syntax="proto3")

    def message(name, within=None):
        return (within.nested_type if within else file.message_type).add(name=name)

    def field(owner, name, number, kind, *, repeated=False, **more):
        label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
        if isinstance(kind, str):
            more |= {"type_name": f".tensorflow.{kind}"}
            kind = _FIELD.TYPE_MESSAGE
        owner.field.add(name=name, number=number, type=kind, label=label, **more)

    feature = message("Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, kind, scalar) in enumerate(
        (
            ("bytes_list", "BytesList", _FIELD.TYPE_BYTES),
            ("float_list", "FloatList", _FIELD.TYPE_FLOAT),
            ("int64_list", "Int64List", _FIELD.TYPE_INT64),
        ),
        start=1,
    ):
        field(message(kind), "value", 1, scalar, repeated=True)
        field(feature, name, number, kind, oneof_index=0)

    features = message("Features")  # map<string, Feature> feature = 1
    entry = message("FeatureEntry", features)
    entry.options.map_entry = True
    field(entry, "key", 1, _FIELD.TYPE_STRING)
    field(entry, "value", 2, "Feature")
    field(features, "feature", 1, "Features.FeatureEntry", repeated=True)
    field(message("Example"), "features", 1, "Features")

    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


Example = _make_example()
