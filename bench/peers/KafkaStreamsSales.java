import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.QueryableStoreTypes;
import org.apache.kafka.streams.state.WindowStore;

/**
 * Kafka Streams: tumbling windows by store and, through a repartition topic, by category, in RocksDB with changelog
 * topics. Arguments: BOOTSTRAP TOPIC PARTITIONS EVENTS.
 */
public final class KafkaStreamsSales {
    private static final Duration WINDOW = Duration.ofSeconds(10);
    private static final Duration GRACE = Duration.ofDays(1);
    private static final AtomicLong SEEN = new AtomicLong();

    @JsonIgnoreProperties(ignoreUnknown = true)
    public static final class Sale {
        public long at;
        public long store;
        public String category;
        public long amount;
        public long quantity;
    }

    /** amount, quantity, count, largest amount */
    private static long[] add(Sale sale, long[] row) {
        SEEN.incrementAndGet();
        return new long[] {
            row[0] + sale.amount, row[1] + sale.quantity, row[2] + 1, Math.max(row[3], sale.amount)
        };
    }

    public static void main(String[] args) throws Exception {
        long events = Long.parseLong(args[3]);
        Path state = Files.createTempDirectory("kafka-streams-");
        Properties config = new Properties();
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, "bench-" + UUID.randomUUID());
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
        config.put(StreamsConfig.STATE_DIR_CONFIG, state.toString());
        config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        config.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        config.put("auto.offset.reset", "earliest");

        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, Sale> sales =
            builder.stream(args[1], Consumed.with(Serdes.String(), sale()).withTimestampExtractor(
                (record, before) -> ((Sale) record.value()).at));
        windowed(sales.groupByKey(Grouped.with(Serdes.String(), sale())), "store");
        windowed(sales.groupBy((key, sale) -> sale.category, Grouped.with(Serdes.String(), sale())), "category");

        try (KafkaStreams streams = new KafkaStreams(builder.build(), config)) {
            streams.start();
            while (streams.state() != KafkaStreams.State.RUNNING || SEEN.get() < 2 * events) {
                Thread.sleep(5);
            }
            List<String> rows = new ArrayList<>();
            rowsOf(streams, "store", rows);
            rowsOf(streams, "category", rows);
            System.out.println("[" + String.join(",", rows) + "]");
        }
        delete(state);
    }

    private static void windowed(KGroupedStream<String, Sale> grouped, String name) {
        grouped.windowedBy(TimeWindows.ofSizeAndGrace(WINDOW, GRACE)).aggregate(
            () -> new long[4],
            (key, sale, row) -> add(sale, row),
            Materialized.<String, long[], WindowStore<Bytes, byte[]>>as(name)
                .withKeySerde(Serdes.String())
                .withValueSerde(row()));
    }

    private static void rowsOf(KafkaStreams streams, String name, List<String> rows) {
        var store = streams.store(
            StoreQueryParameters.fromNameAndType(name, QueryableStoreTypes.<String, long[]>windowStore()));
        try (var all = store.all()) {
            all.forEachRemaining(entry -> {
                long[] row = entry.value;
                rows.add(String.format(
                    "[\"%s\",\"%s\",%d,[%d,%d,%d,%d]]",
                    name, entry.key.key(), entry.key.window().start(), row[0], row[1], row[2], row[3]));
            });
        }
    }

    private static Serde<Sale> sale() {
        ObjectMapper mapper = new ObjectMapper();
        ObjectReader reader = mapper.readerFor(Sale.class);
        Serializer<Sale> serializer = (topic, sale) -> {
            try {
                return sale == null ? null : mapper.writeValueAsBytes(sale);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        };
        Deserializer<Sale> deserializer = (topic, data) -> {
            try {
                return data == null ? null : reader.readValue(data);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        };
        return Serdes.serdeFrom(serializer, deserializer);
    }

    private static Serde<long[]> row() {
        return Serdes.serdeFrom(
            (topic, row) -> {
                if (row == null) {
                    return null;
                }
                ByteBuffer buffer = ByteBuffer.allocate(32);
                for (long value : row) {
                    buffer.putLong(value);
                }
                return buffer.array();
            },
            (topic, data) -> {
                if (data == null) {
                    return null;
                }
                ByteBuffer buffer = ByteBuffer.wrap(data);
                return new long[] {buffer.getLong(), buffer.getLong(), buffer.getLong(), buffer.getLong()};
            });
    }

    private static void delete(Path folder) throws IOException {
        try (var paths = Files.walk(folder)) {
            paths.sorted(java.util.Comparator.reverseOrder()).forEach(path -> path.toFile().delete());
        }
    }
}
