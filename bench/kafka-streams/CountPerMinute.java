import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * What kafka-transact.ts does, in Kafka Streams: parse JSON, count per key and minute in a store with a changelog, emit
 * each count as JSON. Ends when EVENTS were counted and committed; prints how many a second, from the WARMth on.
 */
public final class CountPerMinute {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final AtomicLong seen = new AtomicLong();
  private static volatile long warmAt;
  private static long warm;
  private static long events;
  private static final CountDownLatch all = new CountDownLatch(1);

  private static final class Counting implements Processor<byte[], byte[], byte[], byte[]> {
    private ProcessorContext<byte[], byte[]> context;
    private KeyValueStore<String, Long> counts;

    @Override
    public void init(final ProcessorContext<byte[], byte[]> context) {
      this.context = context;
      this.counts = context.getStateStore("counts");
    }

    @Override
    public void process(final Record<byte[], byte[]> record) {
      try {
        final JsonNode event = JSON.readTree(record.value());
        final String user = event.get("user").asText();
        final long minute = event.get("at").asLong() / 60_000;
        final String key = user + "|" + minute;
        final Long before = counts.get(key);
        final long count = before == null ? 1 : before + 1;
        counts.put(key, count);
        final byte[] out = JSON.writeValueAsBytes(
            JSON.createObjectNode().put("user", user).put("minute", minute).put("count", count));
        context.forward(record.withValue(out));
      } catch (final java.io.IOException e) {
        throw new java.io.UncheckedIOException(e);
      }
      final long n = seen.incrementAndGet();
      if (n == warm) warmAt = System.nanoTime();
      if (n == events) all.countDown();
    }
  }

  public static void main(final String[] args) throws Exception {
    final String bootstrap = args[0];
    final String input = args[1];
    final String output = args[2];
    final String state = args[3];
    events = Long.parseLong(args[4]);
    warm = Long.parseLong(args[5]);
    final String guarantee = args[6];

    final StreamsBuilder builder = new StreamsBuilder();
    builder.addStateStore(Stores.keyValueStoreBuilder(
        Stores.persistentKeyValueStore("counts"), Serdes.String(), Serdes.Long()).withCachingEnabled());
    builder.stream(input, Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
        .process(Counting::new, "counts")
        .to(output, Produced.with(Serdes.ByteArray(), Serdes.ByteArray()));

    final Properties properties = new Properties();
    properties.put(StreamsConfig.APPLICATION_ID_CONFIG, output + "-streams");
    properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
    properties.put(StreamsConfig.STATE_DIR_CONFIG, state);
    properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, guarantee);
    properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
    properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64L << 20);
    properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
    properties.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
    properties.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
    final KafkaStreams streams = new KafkaStreams(builder.build(), properties);
    streams.setUncaughtExceptionHandler(e -> {
      e.printStackTrace();
      Runtime.getRuntime().halt(1);
      return null;
    });
    streams.start();
    all.await();
    streams.close(Duration.ofMinutes(1));
    final double seconds = (System.nanoTime() - warmAt) / 1e9;
    System.out.println("{\"events/s\":" + (events - warm) / seconds + "}");
  }
}
