#!/bin/sh
exec java ${KAFKA_HEAP_OPTS:--Xmx512m} -XX:+ExitOnOutOfMemoryError \
  -Dorg.slf4j.simpleLogger.logFile=System.out -cp '/opt/kafka/libs/*' kafka.Kafka "$@"
