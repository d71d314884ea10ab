# Stand-ins for the public server images, one target each, where no registry can be reached. They answer to what
# the test containers use of the public ones: /opt/kafka/bin, S3Proxy's environment, a Redis server's options.
FROM local/debian:bookworm-slim AS jre
COPY jre /opt/java
ENV PATH=/opt/java/bin:$PATH

FROM jre AS kafka
COPY kafka /opt/kafka/libs
COPY kafka-bin /opt/kafka/bin

FROM jre AS s3proxy
COPY s3proxy /opt/s3proxy/libs
COPY s3proxy-bin /opt/s3proxy/bin
RUN mkdir /data
ENTRYPOINT ["/opt/s3proxy/bin/run"]

FROM local/debian:bookworm-slim AS redis
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server >/dev/null \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /data
ENTRYPOINT ["redis-server"]
