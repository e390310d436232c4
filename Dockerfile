# The command line, without napari and Qt.
#
#   docker build --target cpu  -t feedback-seg .
#   docker build --target cuda -t feedback-seg:cuda .
#   docker run --rm -v "$PWD:/data" feedback-seg segment section.tif -o labels.tif
#   docker run --rm --gpus all -v "$PWD:/data" feedback-seg:cuda segment section.tif -o labels.tif

FROM python:3.12-slim AS base
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY docs docs
COPY src src
# Whoever runs it may be any user: models of one's own are looked for where one mounts them.
ENV HOME=/tmp NAPARI_FEEDBACK_SEG_MODELS=/models

FROM base AS cuda
# PyPI's torch for Linux brings CUDA with it; what it needs of the host is the driver.
RUN pip install --constraint constraints.txt ".[bioimageio,formats,meshes,volumes]"
WORKDIR /data
USER 1000
ENTRYPOINT ["feedback-seg"]
CMD ["--help"]

FROM base AS cpu
RUN pip install --index-url https://download.pytorch.org/whl/cpu "$(grep '^torch==' constraints.txt)" \
    && pip install --constraint constraints.txt ".[bioimageio,formats,meshes,volumes]"
WORKDIR /data
USER 1000
ENTRYPOINT ["feedback-seg"]
CMD ["--help"]
