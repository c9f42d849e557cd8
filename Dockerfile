# HazeHeal in a container, for GPUs or for the CPU (docs/docker.md):
#
#   docker build -t hazeheal:gpu .
#   docker build --build-arg EXTRAS=video -t hazeheal:cpu .
#
# TensorFlow's packages contain NVIDIA's libraries, so one base image serves both. The host needs only the driver and the
# NVIDIA Container Toolkit.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim

# The values of `hazeheal launch`. Downloaded weights and decoded images are in the volume, where the next container
# finds them.
ENV PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    TF_CPP_MIN_LOG_LEVEL=2 \
    TF_FORCE_GPU_ALLOW_GROWTH=true \
    NCCL_DEBUG=WARN \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    KERAS_HOME=/data/.keras \
    XDG_CACHE_HOME=/data/.cache

# Any user may write to the volume, for `docker run --user`.
RUN useradd --uid 1000 --create-home hazeheal \
    && mkdir --mode=1777 /data

# Only the files that determine the installed packages, so that a change of the code does not install them again.
WORKDIR /opt/hazeheal
COPY setup.py pyproject.toml README.md ./
COPY configs configs
COPY hazeheal/__init__.py hazeheal/
ARG EXTRAS=cuda,video
RUN pip install --no-cache-dir "/opt/hazeheal[${EXTRAS}]"
COPY hazeheal hazeheal
COPY tfrecords_tools tfrecords_tools
RUN pip install --no-cache-dir --no-deps --force-reinstall .
USER 1000
WORKDIR /data
VOLUME /data
EXPOSE 6006 7710
ENTRYPOINT ["hazeheal"]
CMD ["--help"]
