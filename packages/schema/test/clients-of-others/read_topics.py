"""Reads topics as somebody who has Kafka's and Confluent's clients and nothing of ours: by the registry alone.

Called with JSON: {"by": "consumer" or "kcat", "brokers", "registry", "topics"}. Prints a JSON line for each record. In
values, what JSON cannot tell apart is an object: {"bytes": hex}, {"double": hex of its eight bytes}, {"ms": of an instant}.
"""

import datetime
import io
import json
import struct
import subprocess
import sys

import fastavro
from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def plain(value):
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, float):
        return {"double": struct.pack(">d", value).hex()}
    if isinstance(value, datetime.datetime):
        return {"ms": (value - EPOCH) // datetime.timedelta(milliseconds=1)}
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value


def tell(topic, raw, value, **more):
    schema_id = struct.unpack(">bI", raw[:5])[1] if raw is not None else None
    print(json.dumps({"topic": topic, "id": schema_id, "value": plain(value), **more}))


def by_consumer(brokers, registry, topics):
    """confluent-kafka with its own deserializer, which decodes with fastavro."""
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "nobody",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    decode = AvroDeserializer(registry)
    metadata = consumer.list_topics().topics
    left = {(topic, partition) for topic in topics for partition in metadata[topic].partitions}
    consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in left])
    while left:
        message = consumer.poll(60)
        if message is None:
            sys.exit(f"nothing came any more of {left}")
        if message.error() is not None:
            if message.error().code() != KafkaError._PARTITION_EOF:
                sys.exit(str(message.error()))
            left.discard((message.topic(), message.partition()))
            continue
        value = decode(message.value(), SerializationContext(message.topic(), MessageField.VALUE))
        headers = [[name, content.hex()] for name, content in message.headers() or []]
        key = message.key()
        tell(message.topic(), message.value(), value, key=None if key is None else key.hex(), headers=headers)
    consumer.close()


def by_kcat(brokers, registry, topics):
    """kcat writes out each value behind its length; the id in front of it tells the registry's schema."""
    schemas = {}
    for topic in topics:
        command = ["kcat", "-C", "-b", brokers, "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%R%s"]
        values = io.BytesIO(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
        while length := values.read(4):
            (size,) = struct.unpack(">i", length)
            if size < 0:
                tell(topic, None, None)
                continue
            raw = values.read(size)
            (schema_id,) = struct.unpack(">I", raw[1:5])
            if schema_id not in schemas:
                schemas[schema_id] = fastavro.parse_schema(json.loads(registry.get_schema(schema_id).schema_str))
            body = io.BytesIO(raw[5:])
            value = fastavro.schemaless_reader(body, schemas[schema_id])
            if body.read():
                sys.exit(f"{topic}: bytes are left behind the value")
            tell(topic, raw, value)


asked = json.loads(sys.argv[1])
read = {"consumer": by_consumer, "kcat": by_kcat}[asked["by"]]
read(asked["brokers"], SchemaRegistryClient({"url": asked["registry"]}), asked["topics"])
