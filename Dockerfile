# One image for every role: the role is the first argument (stream, collect, serve, migrate, ..). It holds the package
# without extras, at the pins of requirements.txt, and the sample of data/: no embedded servers, no tests, no compiler,
# no package cache. Nothing that runs in it needs root, a shell, or a root file system that can be written; what is
# written goes to /tmp.
#
#   docker build -t telemetry-pipeline .
#   docker build --build-arg BASE=registry.example.org/python:3.11-slim-bookworm@sha256:.. -t telemetry-pipeline .
#
# Another base needs Python 3.11 or newer with the modules venv and pip; wheels of every requirement exist for amd64
# and arm64 with glibc (not for musl: Alpine would compile Arrow).
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
RUN python3 -m venv --without-pip /opt/telemetry
# Apart from the package, because it changes more rarely. pip takes no extras in constraints.
COPY pyproject.toml requirements.txt ./
RUN sed 's/\[[^]]*\]//' requirements.txt >constraints.txt \
    && python3 -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
    >dependencies.txt \
    && python3 -m pip --python /opt/telemetry/bin/python install --only-binary :all: \
    --requirement dependencies.txt --constraint constraints.txt
# Of Arrow the CSV reader and the kernels are used. What is removed (Flight, S3, headers, tests) nothing else links to.
RUN cd /opt/telemetry/lib/python3*/site-packages \
    && rm -rf pyarrow/include pyarrow/src pyarrow/tests pyarrow/*.pyx pyarrow/*.pxi pyarrow/includes \
    pyarrow/libarrow_flight.* pyarrow/libarrow_python_flight.* pyarrow/_flight.* pyarrow/libarrow_s3.* pyarrow/_s3fs.* \
    && find numpy -type d -name tests -prune -exec rm -rf {} + \
    && /opt/telemetry/bin/python -c "import pyarrow.compute, pyarrow.csv, numpy"
COPY README.md ./
COPY telemetry telemetry
COPY webapi webapi
# Beside what it needs, so that it is a layer of its own: another version is 4 MB to pull and not 220.
RUN python3 -m pip --python /opt/telemetry/bin/python install --prefix /package --no-deps . \
    && test -x /package/bin/telemetry && ls /package/lib/python3*/site-packages/telemetry/__init__.py
# readable by any user, whatever the checkout's umask was
COPY data/sample.csv ./
RUN install -D -m 0444 sample.csv /data/dcgm.csv

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="telemetry-pipeline" \
    org.opencontainers.image.description="GPU telemetry from DCGM through a bounded Redis queue into TimescaleDB, each reading once" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/telemetry /opt/telemetry
COPY --from=build /data /data
COPY --from=build /package /opt/telemetry
# The user has no entry in /etc/passwd: HOME is where caches go. Bytecode was compiled when the package was installed.
ENV PATH=/opt/telemetry/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
# the API; probes and metrics of streamers and collectors
EXPOSE 8080 8081
ENTRYPOINT ["telemetry"]
CMD ["--help"]
